// Generates the API types from the contract. Runs before dev, build and test; nothing generated is committed.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
execFileSync(process.execPath, ["node_modules/@bufbuild/buf/bin/buf", "generate"], { cwd: root, stdio: "inherit" });
