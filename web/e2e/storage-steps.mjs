// Storage as an administrator uses it: a volume's life, a disk for a running guest, and files in a pool.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { choose, SLOW_MS } from "./browser.mjs";

/** Fills the open dialog and sends it; it must close again. */
async function dialog(b, title, verb, fill) {
  const open = b.page.getByRole("dialog", { name: title });
  await open.waitFor();
  await fill(open);
  await open.getByRole("button", { name: verb, exact: true }).click();
  await open.waitFor({ state: "detached", timeout: SLOW_MS });
}

const row = (b, name) => b.page.getByRole("row").filter({ hasText: name });
const tab = (b, name) => b.page.getByRole("tab", { name, exact: true }).click();

export async function storageSteps(b, rig, step) {
  const { page } = b;
  await step("volume is made, kept, grown, cloned and reverted", async () => {
    await b.go("Volumes");
    await b.button("Create volume").first().click();
    await dialog(b, "Create volume", "Create volume", async (d) => {
      await d.getByLabel("Name", { exact: true }).fill("data-1");
      await d.getByLabel("Size in GiB").fill("1");
      await b.look("volume-create");
    });
    await page.getByRole("link", { name: "data-1", exact: true }).click();
    await page.getByText("1 GiB in main").waitFor();
    await page.getByRole("main").getByText("Free", { exact: true }).first().waitFor({ timeout: SLOW_MS });
    await b.look("volume");
    await tab(b, "Snapshots");
    await b.look("volume-snapshots-empty");
    await b.button("Take snapshot").click();
    await dialog(b, 'Take snapshot of "data-1"', "Take snapshot", (d) => d.getByLabel("Name").fill("first"));
    await row(b, "first").waitFor({ timeout: SLOW_MS });
    await b.look("volume-snapshots");
    await row(b, "first").getByRole("button", { name: "Clone" }).click();
    await dialog(b, 'Clone snapshot "first" of "data-1"', "Clone volume", async (d) => {
      await d.getByLabel("Name of the new volume").fill("copy-1");
      await b.look("volume-clone");
    });
    await b.button("Grow").click();
    await dialog(b, 'Grow volume "data-1"', "Grow volume", async (d) => {
      await d.getByLabel("New size in GiB").fill("2");
      await b.look("volume-grow");
    });
    await page.getByText("2 GiB in main").waitFor({ timeout: SLOW_MS });
    await b.go("Volumes");
    await row(b, "copy-1").getByText("Free", { exact: true }).waitFor({ timeout: SLOW_MS });
    await b.look("volumes-full");
    await page.getByLabel("Free only").check();
    await row(b, "copy-1").waitFor({ timeout: SLOW_MS });
    await b.look("volumes-free");
    await page.getByLabel("Free only").uncheck();
  });
  await step("running guest gets a disk, larger while it runs, and gives it back", async () => {
    await b.go("VMs");
    await page.getByRole("link", { name: "web-1" }).first().click();
    await b.button("Start").click();
    await page.getByRole("main").getByText("Running", { exact: true }).first().waitFor({ timeout: SLOW_MS });
    // A guest that has not loaded its hotplug driver yet would not let the disk go again.
    await page.waitForTimeout(12_000);
    await tab(b, "Disks");
    await b.button("Attach volume").click();
    await dialog(b, 'Attach a volume to "web-1"', "Attach volume", (d) => choose(d, "Volume", "copy-1"));
    await row(b, "copy-1").waitFor({ timeout: SLOW_MS });
    await b.look("vm-disks");
    await row(b, "copy-1").getByRole("button", { name: "Grow" }).click();
    await dialog(b, 'Grow volume "copy-1"', "Grow volume", (d) => d.getByLabel("New size in GiB").fill("3"));
    await row(b, "copy-1").getByText("3 GiB").waitFor({ timeout: SLOW_MS });
    await row(b, "copy-1").getByRole("button", { name: "Detach" }).click();
    await b.look("volume-detach");
    await dialog(b, 'Detach volume "copy-1" from web-1?', "Detach volume", async () => undefined);
    await page.getByText("This VM has no disk").waitFor({ timeout: SLOW_MS });
    await b.button("Force stop").click();
    await page.getByRole("dialog").getByRole("button", { name: "Force stop" }).click();
    await page.getByRole("main").getByText("Off", { exact: true }).first().waitFor({ timeout: SLOW_MS });
  });
  await step("files come, are moved and copied, and go", async () => {
    const text = "line one\nline two\n";
    const odd = "it's a “file”.txt";
    writeFileSync(join(rig.dir, odd), text);
    await b.go("Pools");
    await page.getByRole("link", { name: "main", exact: true }).first().click();
    await tab(b, "Files");
    for (const [ours, verb] of [[".quantix-pool", "Delete"], ["volumes", "Move"]]) {
      const button = row(b, ours).getByRole("button", { name: verb, exact: true });
      if ((await button.getAttribute("aria-disabled")) !== "true") throw new Error(`${verb} is offered for ${ours}`);
    }
    await b.button("Make folder").click();
    await dialog(b, "Make folder", "Make folder", (d) => d.getByLabel("Name").fill("in"));
    await b.button("Open folder in").click();
    await page.getByText("This folder is empty").waitFor();
    await b.button("Upload file").click();
    await dialog(b, "Upload file", "Upload file", (d) => d.getByLabel("File").setInputFiles(join(rig.dir, odd)));
    await until(b, async () => {
      await b.button("Read again").click();
      return (await row(b, odd).count()) > 0;
    });
    await row(b, odd).getByRole("button", { name: `Look at ${odd}` }).click();
    await page.getByRole("dialog").getByText("18 B").first().waitFor();
    await b.look("file");
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
    const coming = page.waitForEvent("download");
    await row(b, odd).getByRole("link", { name: "Download" }).click();
    const file = await coming;
    if (readFileSync(await file.path(), "utf8") !== text) throw new Error("the download is not what was uploaded");
    await row(b, odd).getByRole("button", { name: "Move" }).click();
    await dialog(b, `Move "in/${odd}"`, "Move or rename", (d) => d.getByLabel("To").fill("in/plain.txt"));
    await row(b, "plain.txt").getByRole("button", { name: "Copy" }).click();
    await dialog(b, 'Copy "in/plain.txt"', "Copy file", async () => undefined);
    await until(b, async () => {
      await b.button("Read again").click();
      return (await row(b, "plain-copy.txt").count()) > 0;
    });
    await b.look("pool-files-folder");
    await row(b, "plain-copy.txt").getByRole("button", { name: "Delete" }).click();
    await dialog(b, 'Delete file "plain-copy.txt"?', "Delete file", async () => undefined);
    await until(b, async () => {
      await b.button("Read again").click();
      return (await row(b, "plain-copy.txt").count()) === 0;
    });
    await tab(b, "Orphans");
    await page.getByText("Every volume in the pool is known").waitFor({ timeout: SLOW_MS });
    await b.look("pool-orphans");
  });
}

async function until(b, seen) {
  const end = Date.now() + SLOW_MS;
  while (!(await seen())) {
    if (Date.now() > end) throw new Error("it was not seen in time");
    await b.page.waitForTimeout(500);
  }
}
