// The main job, as a newcomer does it: from a one-time password to a guest whose screen moves, and back to nothing.
// Run by `./x test e2e`; screenshots of every page, light and dark, are kept as artefacts.
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Browser, choose, SLOW_MS } from "./browser.mjs";
import { Rig, setting } from "./rig.mjs";
import { adminSteps } from "./admin-steps.mjs";
import { bulkSteps, leaveSteps } from "./leave-steps.mjs";
import { peopleSteps } from "./people-steps.mjs";
import { storageSteps } from "./storage-steps.mjs";

const PASSWORD = "correct horse battery staple";
const GUEST = join(setting("QUANTIX_GUEST"), "guest.iso");
const DISK = join(setting("QUANTIX_GUEST"), "guest.qcow2");

const rig = await Rig.start();
let b;
let passed = 0;
let failed = 0;

/** One step; the first that fails ends the run, since the next ones build on it. */
async function step(name, work) {
  const began = Date.now();
  await work();
  passed += 1;
  console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

async function signIn(password) {
  await b.page.getByLabel("User name").fill("admin");
  await b.page.getByLabel("Password", { exact: true }).fill(password);
  await b.button("Sign in").click();
}

async function upload(file, name) {
  await b.button("Upload image").first().click();
  const dialog = b.page.getByRole("dialog");
  await dialog.getByLabel("File").setInputFiles(file);
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByRole("button", { name: "Upload image" }).click();
  return dialog;
}

/** A raw disk of many random bytes with a boot sector's mark; answers its SHA-256. */
function bigDisk(path) {
  const sum = createHash("sha256");
  const file = openSync(path, "w");
  for (let piece = 0; piece < 24; piece += 1) {
    const bytes = randomBytes(16 << 20);
    if (piece === 0) bytes.set([0x55, 0xaa], 510);
    sum.update(bytes);
    writeSync(file, bytes);
  }
  closeSync(file);
  return sum.digest("hex");
}

/** Whether what the canvas shows differs within some seconds. */
async function screenMoves() {
  const canvas = b.page.getByRole("application", { name: "Screen of web-1" }).locator("canvas");
  await canvas.waitFor({ timeout: SLOW_MS });
  const seen = new Set();
  const end = Date.now() + SLOW_MS;
  while (seen.size < 6 && Date.now() < end) {
    seen.add(createHash("sha256").update(await canvas.screenshot()).digest("hex"));
    await b.page.waitForTimeout(1000);
  }
  if (seen.size < 6) throw new Error(`the screen showed only ${seen.size} different pictures`);
}

/** In full screen the guest's picture takes the room there is. */
async function screenFills() {
  await b.page.waitForTimeout(500);
  const [canvas, room] = await b.page.evaluate(() => {
    const box = document.querySelector(".q-console canvas")?.getBoundingClientRect();
    return [{ width: box?.width ?? 0, height: box?.height ?? 0 }, { width: window.innerWidth, height: window.innerHeight }];
  });
  if (canvas.width < 0.9 * room.width && canvas.height < 0.75 * room.height) {
    throw new Error(`the picture is ${canvas.width} x ${canvas.height} of ${room.width} x ${room.height}`);
  }
}

const status = (text) => b.page.getByRole("main").getByText(text, { exact: true }).first();

async function run() {
  const { page } = b;
  await step("wrong password is refused", async () => {
    await page.goto("/");
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await b.look("login");
    await signIn("not the password");
    await b.fault("WRONG_CREDENTIALS");
    await b.look("login-refused");
  });
  await step("one-time password must be changed", async () => {
    await signIn(rig.password);
    await page.getByRole("heading", { name: "Choose your password" }).waitFor();
    await b.look("change-password");
    await page.getByLabel("One-time password").fill(rig.password);
    await page.getByLabel("New password", { exact: true }).fill(PASSWORD);
    await page.getByLabel("New password again").fill(PASSWORD);
    await b.button("Change password").click();
    await page.getByRole("heading", { name: "Dashboard" }).waitFor();
    await page.getByRole("list", { name: "First steps" }).waitFor();
    await b.look("dashboard-first");
  });
  await step("empty pages say what to do", async () => {
    for (const place of ["Hosts", "VMs", "Pools", "Volumes", "Images", "Tasks", "Alerts", "Events"]) {
      await b.go(place);
      await page.waitForTimeout(300);
      await b.look(`${place.toLowerCase()}-empty`);
    }
  });
  await step("host is added with its token", async () => {
    await b.go("Hosts");
    await b.button("Add host").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Host address").fill(rig.hostUrl);
    const good = rig.token();
    const [prefix, , fingerprint] = good.split(".");
    await dialog.getByLabel("Registration token").fill(`${prefix}.${"A".repeat(22)}.${fingerprint}`);
    await dialog.getByRole("button", { name: "Check host" }).click();
    await b.fault("TOKEN_INVALID");
    await b.look("add-host-wrong-token");
    await dialog.getByLabel("Registration token").fill(good);
    await dialog.getByRole("button", { name: "Check again" }).click();
    await dialog.getByLabel("Name", { exact: true }).waitFor({ timeout: SLOW_MS });
    await b.look("add-host-found");
    await dialog.getByLabel("Name", { exact: true }).fill("host-1");
    await dialog.getByRole("button", { name: "Add host" }).click();
    await page.getByRole("heading", { name: "host-1" }).waitFor();
    await status("Ready").waitFor({ timeout: SLOW_MS });
    await b.look("host");
    await page.getByRole("tab", { name: "Disks" }).click();
    await page.getByText(/ looked /).waitFor({ timeout: SLOW_MS });
    await b.look("host-disks");
    await page.getByRole("tab", { name: "Discovered VMs" }).click();
    await page.getByText("Nothing unknown").waitFor({ timeout: SLOW_MS });
    await b.look("host-discovered");
    await b.go("Hosts");
    await b.look("hosts");
  });
  await step("pool is created, its name only once", async () => {
    for (const [name, path, refused] of [
      ["main", rig.poolPath, undefined],
      ["main", `${rig.poolPath}-2`, "NAME_TAKEN"],
      ["system", "/etc/quantix-pool", "POOL_PATH_INVALID"],
    ]) {
      await b.go("Pools");
      await b.button("Create pool").first().click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("Name", { exact: true }).fill(name);
      await dialog.getByLabel("Path on the host").fill(path);
      await b.look("pool-create");
      await dialog.getByRole("button", { name: "Create pool" }).click();
      if (refused) {
        await b.fault(refused);
        await dialog.getByRole("button", { name: "Cancel" }).click();
      } else {
        await status("Ready").waitFor({ timeout: SLOW_MS });
        await b.look("pool");
      }
    }
    await b.go("Pools");
    await b.look("pools");
  });
  await step("what is no image is refused", async () => {
    const page404 = join(rig.dir, "page.iso");
    writeFileSync(page404, "<!DOCTYPE html><html><body>Not found</body></html>");
    await b.go("Images");
    const dialog = await upload(page404, "page.iso");
    await b.fault("IMAGE_NOT_AN_IMAGE");
    await b.look("image-refused");
    await dialog.getByRole("button", { name: /^(Close|Go on in the background)$/ }).last().click();
  });
  await step("images arrive and are checked", async () => {
    for (const [file, name] of [[GUEST, "guest.iso"], [DISK, "guest.qcow2"]]) {
      await b.go("Images");
      const dialog = await upload(file, name);
      await dialog.getByText("can be used").waitFor({ timeout: SLOW_MS });
      await b.look("image-ready");
      await dialog.getByRole("button", { name: "Close", exact: true }).last().click();
    }
    await b.go("Images");
    await b.look("images");
  });
  await step("upload outlives a killed vDC, to the last byte", async () => {
    const big = join(rig.dir, "big.img");
    const sha256 = bigDisk(big);
    await b.go("Images");
    await b.button("Upload image").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("File").setInputFiles(big);
    await dialog.getByLabel("SHA-256").fill(sha256);
    await dialog.getByRole("button", { name: "Upload image" }).click();
    await page.waitForFunction(() => Number(document.querySelector('[role="dialog"] [role="progressbar"]')?.getAttribute("aria-valuenow")) >= 10);
    await rig.vdc.stop("SIGKILL");
    await dialog.getByText("Waiting for the line").waitFor();
    await b.look("upload-waiting");
    await rig.startVdc();
    await dialog.getByText("can be used").waitFor({ timeout: SLOW_MS });
    await dialog.getByRole("button", { name: "Close", exact: true }).last().click();
  });
  await step("VM is created and its screen moves", async () => {
    await b.go("VMs");
    await b.button("Create VM").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("web-1");
    await dialog.getByLabel("vCPUs").fill("1");
    await dialog.getByLabel("Memory in GiB").fill("0.25");
    await choose(dialog, "ISO in the drive");
    await b.look("vm-create");
    await dialog.getByRole("button", { name: "Create VM" }).click();
    await page.getByRole("heading", { name: "web-1" }).waitFor();
    await status("Connected").waitFor({ timeout: SLOW_MS });
    await screenMoves();
    await b.look("vm-console");
    await b.button("Full screen").click();
    await page.waitForFunction(() => document.fullscreenElement?.getAttribute("aria-label") === "Console of web-1");
    await screenFills();
    await b.look("vm-console-full");
    await b.button("Leave full screen").click();
    await page.waitForFunction(() => document.fullscreenElement === null);
    await page.getByRole("tab", { name: "Overview" }).click();
    await status("Running").waitFor({ timeout: SLOW_MS });
    await b.look("vm");
    await b.go("VMs");
    await b.look("vms");
  });
  await step("its name cannot be used again", async () => {
    await b.button("Create VM").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("web-1");
    await dialog.getByLabel("Memory in GiB").fill("0.25");
    await dialog.getByRole("button", { name: "Create VM" }).click();
    await b.fault("NAME_TAKEN");
    await b.look("vm-refused");
    await dialog.getByRole("button", { name: "Cancel" }).click();
  });
  await step("guest obeys the power button", async () => {
    await page.getByRole("link", { name: "web-1" }).first().click();
    await b.button("Shut down").click();
    await status("Off").waitFor({ timeout: SLOW_MS });
    await b.look("vm-off");
  });
  await step("guest is started and its plug pulled", async () => {
    await b.button("Start").click();
    await status("Running").waitFor({ timeout: SLOW_MS });
    // By keyboard, while a tip is shown: the dialog must cover it.
    await b.button("Start").hover();
    await page.locator(".q-tip").first().waitFor();
    await b.button("Force stop").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    if (await page.locator(".q-tip").first().isVisible()) throw new Error("a tip lies over the dialog");
    await b.look("vm-force-stop");
    await page.getByRole("dialog").getByRole("button", { name: "Force stop" }).click();
    await status("Off").waitFor({ timeout: SLOW_MS });
  });
  await step("full pages look right", async () => {
    for (const place of ["Dashboard", "Tasks", "Volumes"]) {
      await b.go(place);
      await page.waitForTimeout(300);
      await b.look(place.toLowerCase());
    }
    await b.go("Pools");
    await page.getByRole("link", { name: "main", exact: true }).first().click();
    for (const tab of ["Files", "Hosts", "Volumes"]) {
      await page.getByRole("tab", { name: tab }).click();
      await page.waitForTimeout(500);
      await b.look(`pool-${tab.toLowerCase()}`);
    }
  });
  await storageSteps(b, rig, step);
  await bulkSteps(b, step);
  await step("VMs are deleted with their disks", async () => {
    await b.go("VMs");
    await page.getByRole("link", { name: "web-2" }).first().click();
    await b.button("Delete").click();
    await page.getByRole("dialog").getByRole("textbox").fill("web-2");
    await page.getByRole("dialog").getByRole("button", { name: "Delete VM" }).click();
    await page.getByRole("link", { name: "web-2" }).first().waitFor({ state: "detached", timeout: SLOW_MS });
    await page.getByRole("link", { name: "web-1" }).first().click();
    await b.button("Delete").click();
    const dialog = page.getByRole("dialog");
    await b.look("vm-delete");
    const disks = dialog.getByLabel("Delete its disks too");
    if (await disks.count()) await disks.check();
    await dialog.getByRole("textbox").fill("web-1");
    await dialog.getByRole("button", { name: "Delete VM" }).click();
    await page.getByText("No VM yet").waitFor({ timeout: SLOW_MS });
  });
  await step("stopped libvirt is said, and recovers", async () => {
    await rig.libvirt.stop("SIGKILL");
    await b.go("Hosts");
    await page.getByRole("link", { name: "host-1" }).first().click();
    await b.fault("HYPERVISOR_UNAVAILABLE");
    await b.look("host-no-libvirt");
    const nav = page.getByRole("navigation", { name: "Main" });
    await nav.getByRole("link", { name: /^Alerts/ }).click();
    await page.getByText("Host host-1 is degraded.").waitFor({ timeout: SLOW_MS });
    await b.look("alerts");
    await page.getByRole("button", { name: "Acknowledge: Host host-1 is degraded." }).click();
    await page.getByRole("button", { name: "Take back: Host host-1 is degraded." }).waitFor();
    await rig.startLibvirt();
    await page.getByText("Nothing is wrong").waitFor({ timeout: SLOW_MS });
    await b.go("Events");
    await page.getByText("Over: Host host-1 is degraded.").waitFor({ timeout: SLOW_MS });
    await page.getByText("VM web-1 runs.").first().waitFor();
    await b.look("events");
    await b.go("Hosts");
    await page.getByRole("link", { name: "host-1" }).first().click();
    await status("Ready").waitFor({ timeout: SLOW_MS });
    await page.getByRole("tab", { name: "Events" }).click();
    await page.getByText("Acknowledged: Host host-1 is degraded.").waitFor();
    await b.look("host-events");
    await page.getByRole("tab", { name: "Overview" }).click();
  });
  await step("broken line to the vDC is said, and recovers", async () => {
    await rig.vdc.stop("SIGKILL");
    await page.getByText("The line to the vDC is broken").waitFor({ timeout: SLOW_MS });
    await b.look("stale");
    await rig.startVdc();
    await page.getByText("The line to the vDC is broken").waitFor({ state: "detached", timeout: SLOW_MS });
    await status("Ready").waitFor({ timeout: SLOW_MS });
  });
  await leaveSteps(b, step);
  b.problems.push(...(await adminSteps(rig.url, b.shots, PASSWORD, step)));
  // Passkeys belong to a name: the same vDC, by the name of this machine.
  b.problems.push(...(await peopleSteps(rig.page.replace("127.0.0.1", "localhost"), b.shots, PASSWORD, step)));
  await step("sign out", async () => {
    await b.button("Account").click();
    await page.getByRole("menuitem", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
  });
}

try {
  b = await Browser.open(rig.page, join(setting("QUANTIX_ARTEFACTS"), "screens"));
  await run();
} catch (error) {
  failed += 1;
  console.log(`FAILED ${error.stack ?? error}`);
  await b?.page.screenshot({ path: join(setting("QUANTIX_ARTEFACTS"), "screens", "failed.png") }).catch(() => undefined);
  for (const program of [rig.vdc, rig.node]) console.log(`--- ${program.name}\n${program.lines.slice(-40).join("\n")}`);
} finally {
  await b?.browser.close();
  await rig.stop();
}
for (const problem of new Set(b?.problems)) {
  failed += 1;
  console.log(`PROBLEM ${problem}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
