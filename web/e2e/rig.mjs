// The product as an administrator has it: a libvirt of its own, quantix-vdc and quantix-node as processes.
// Everything ends with this program; nothing is left behind.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 20_000;

/** What `./x test` says; without it nothing can run. */
export function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this through ./x test e2e`);
  return value;
}

/** A running program: its lines are kept, and it can be waited for. */
export class Program {
  constructor(name, file, args) {
    this.name = name;
    this.lines = [];
    this.waiting = [];
    this.child = spawn("setpriv", ["--pdeathsig", "TERM", "--", file, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    this.ended = new Promise((done) => this.child.once("exit", done));
    for (const stream of [this.child.stdout, this.child.stderr]) this.#follow(stream);
  }

  #follow(stream) {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      this.lines.push(...lines);
      for (const look of this.waiting) look();
    });
  }

  /** The first line that holds `text`, now or within the deadline. */
  async line(text) {
    const found = () => this.lines.find((line) => line.includes(text));
    if (found()) return found();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => fail("in time"), START_WITHIN_MS);
      const fail = (why) => {
        clearTimeout(timer);
        reject(new Error(`${this.name} did not say "${text}" ${why}. It said:\n${this.lines.slice(-30).join("\n")}`));
      };
      this.waiting.push(() => {
        if (!found()) return;
        clearTimeout(timer);
        resolve(found());
      });
      void this.ended.then(() => fail("before it ended"));
    });
  }

  async stop(signal = "SIGTERM") {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_WITHIN_MS);
    await this.ended;
    clearTimeout(timer);
  }
}

export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

export class Rig {
  static async start() {
    const rig = new Rig();
    rig.dir = mkdtempSync(join(tmpdir(), "quantix-e2e-"));
    // QEMU runs as a user of its own and must reach the pool.
    chmodSync(rig.dir, 0o755);
    rig.bin = (name) => join(setting("QUANTIX_BIN"), name);
    const [https, http, node] = [await freePort(), await freePort(), await freePort()];
    rig.page = `http://127.0.0.1:${http}`;
    rig.url = `https://127.0.0.1:${https}`;
    rig.hostUrl = `https://127.0.0.1:${node}`;
    rig.poolPath = join(rig.dir, "pool");
    rig.nodeArgs = ["run", "--state-dir", join(rig.dir, "node"), "--listen", `127.0.0.1:${node}`, "--libvirt-uri", rig.libvirtUri(), "--accelerator", "tcg"];
    rig.vdcArgs = ["run", "--data-dir", join(rig.dir, "vdc"), "--listen", `127.0.0.1:${https}`, "--dev-listen", `127.0.0.1:${http}`];
    try {
      await rig.startLibvirt();
      await Promise.all([rig.startVdc(), rig.startNode()]);
      rig.password = (await rig.vdc.line("one-time password")).trim().split(/\s+/).at(-1);
    } catch (error) {
      await rig.stop();
      throw error;
    }
    return rig;
  }

  libvirtUri() {
    return `qemu+unix:///system?socket=${join(this.dir, "lv/run/libvirt-sock")}`;
  }

  async startLibvirt() {
    const cache = join(setting("QUANTIX_BIN"), "../libvirt-cache");
    this.libvirt = new Program("libvirt", setting("QUANTIX_X"), ["libvirt", "--dir", join(this.dir, "lv"), "--cache", cache, "--stop-guests"]);
    await this.libvirt.line("READY");
  }

  async startVdc() {
    this.vdc = new Program("quantix-vdc", this.bin("quantix-vdc"), this.vdcArgs);
    await this.vdc.line("Serving");
  }

  async startNode() {
    this.node = new Program("quantix-node", this.bin("quantix-node"), this.nodeArgs);
    await this.node.line("Serving");
  }

  /** A fresh registration token, as a person at the host would get it. */
  token() {
    const { stdout, stderr } = spawnSync(this.bin("quantix-node"), ["token", "--state-dir", join(this.dir, "node")], { encoding: "utf8" });
    const token = stdout.match(/qxh1\.\S+/)?.[0];
    if (!token) throw new Error(`no token: ${stdout}${stderr}`);
    return token;
  }

  async stop() {
    for (const program of [this.node, this.vdc, this.libvirt]) await program?.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
