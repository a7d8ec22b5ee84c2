// Prints what the browser loads, gzipped, until the dashboard stands: page, entry chunks, styles, typeface.
// Ends with 1 when it is more than the promise.
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

const LIMIT_BYTES = 300 * 1024;
const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist), "utf8"));
const files = new Set(["index.html"]);
const take = (key) => {
  const chunk = manifest[key];
  if (files.has(chunk.file)) return;
  files.add(chunk.file);
  for (const css of chunk.css ?? []) files.add(css);
  for (const next of chunk.imports ?? []) take(next);
};
for (const [key, chunk] of Object.entries(manifest)) if (chunk.isEntry) take(key);
for (const asset of readdirSync(new URL("assets/", dist))) if (asset.endsWith(".woff2")) files.add(`assets/${asset}`);

let total = 0;
for (const file of files) {
  const raw = readFileSync(new URL(file, dist));
  // Typefaces are compressed already.
  const bytes = file.endsWith(".woff2") ? raw.length : gzipSync(raw, { level: 9 }).length;
  total += bytes;
  process.stdout.write(`${(bytes / 1024).toFixed(1).padStart(8)} KiB  ${file}\n`);
}
process.stdout.write(`${(total / 1024).toFixed(1).padStart(8)} KiB  first load, gzip (limit ${LIMIT_BYTES / 1024} KiB)\n`);
if (total > LIMIT_BYTES) process.exit(1);
