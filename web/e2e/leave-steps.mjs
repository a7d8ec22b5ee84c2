// Many VMs at once, and everything taken down again: pool off its host, pool deleted, host removed.
import { choose, SLOW_MS } from "./browser.mjs";

const row = (b, name) => b.page.getByRole("row").filter({ hasText: name });

/** The open dialog with this title. */
async function question(b, title) {
  const open = b.page.getByRole("dialog", { name: title });
  await open.waitFor();
  return open;
}

async function openPool(b, tab) {
  await b.go("Pools");
  await b.page.getByRole("link", { name: "main", exact: true }).first().click();
  await b.page.getByRole("tab", { name: tab, exact: true }).click();
}

export async function bulkSteps(b, step) {
  const { page } = b;
  await step("pool of a VM is not unassigned, and the VM is named", async () => {
    await openPool(b, "Hosts");
    await row(b, "host-1").getByRole("button", { name: "Unassign" }).click();
    const dialog = await question(b, 'Unassign pool "main" from host-1?');
    await b.look("pool-unassign");
    await dialog.getByRole("button", { name: "Unassign pool" }).click();
    const text = await b.fault("POOL_IN_USE");
    if (!text.includes("web-1")) throw new Error(`the VM is not named: ${text}`);
    await dialog.getByRole("checkbox").check();
    await dialog.getByRole("button", { name: "Unassign pool" }).click();
    await b.fault("POOL_IN_USE");
    await dialog.getByRole("button", { name: "Cancel" }).click();
  });
  await step("two VMs are started and stopped at once", async () => {
    await b.go("VMs");
    await b.button("Create VM").first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("web-2");
    await dialog.getByLabel("vCPUs").fill("1");
    await dialog.getByLabel("Memory in GiB").fill("0.25");
    await dialog.getByRole("button", { name: "Create VM" }).click();
    await page.getByRole("heading", { name: "web-2" }).waitFor();
    await b.go("VMs");
    await row(b, "web-2").getByText("Running", { exact: true }).waitFor({ timeout: SLOW_MS });
    await page.getByRole("checkbox", { name: "Select all" }).check();
    await page.getByText("2 VMs selected").waitFor();
    await b.look("vms-selected");
    // web-2 runs: only the other one may be started.
    await b.button("Start 1").click();
    await row(b, "web-1").getByText("Running", { exact: true }).waitFor({ timeout: SLOW_MS });
    await page.getByRole("checkbox", { name: "Select all" }).check();
    await b.button("Force stop").click();
    const asked = await question(b, "Force stop 2 VMs?");
    for (const name of ["web-1", "web-2"]) await asked.getByText(name).waitFor();
    await b.look("vms-force-stop");
    await asked.getByRole("button", { name: "Force stop" }).click();
    for (const name of ["web-1", "web-2"]) await row(b, name).getByText("Off", { exact: true }).waitFor({ timeout: SLOW_MS });
  });
  await step("lists are ordered by the vDC, and the address keeps it", async () => {
    await b.button("Memory").click();
    await page.waitForURL(/sort=memory/);
    await b.button("Name").click();
    await b.button("Name").click();
    await page.waitForURL(/sort=-name/);
    await page.reload();
    await page.getByRole("link", { name: "web-2" }).waitFor();
    const names = await page.getByRole("table", { name: "VMs" }).getByRole("link", { name: /^web-/ }).allInnerTexts();
    if (names.join(" ") !== "web-2 web-1") throw new Error(`the order is ${names.join(" ")}`);
    await b.go("Tasks");
    await page.getByRole("textbox", { name: "Filter tasks by title" }).fill("web-2");
    await page.waitForURL(/q=web-2/);
    await row(b, "Create VM web-2").waitFor();
    await row(b, "Create VM web-1").waitFor({ state: "detached" });
  });
}

export async function leaveSteps(b, step) {
  const { page } = b;
  await step("pool leaves its host and comes back", async () => {
    await openPool(b, "Hosts");
    await row(b, "host-1").getByRole("button", { name: "Unassign" }).click();
    const dialog = await question(b, 'Unassign pool "main" from host-1?');
    await dialog.getByRole("button", { name: "Unassign pool" }).click();
    await page.getByText("On no host", { exact: true }).waitFor({ timeout: SLOW_MS });
    await b.look("pool-on-no-host");
    await b.button("Assign to a host").click();
    const again = await question(b, 'Assign pool "main"');
    await choose(again, "Host", "host-1");
    await again.getByRole("button", { name: "Assign pool" }).click();
    await row(b, "host-1").getByText("Healthy", { exact: true }).waitFor({ timeout: SLOW_MS });
  });
  await step("pool is deleted only with its name and a word about what is on it", async () => {
    await b.button("Delete pool").click();
    const dialog = await question(b, 'Delete pool "main"?');
    await dialog.getByText(/images? (is|are) on it\. /).waitFor();
    await dialog.getByRole("textbox").fill("main");
    await b.look("pool-delete");
    await dialog.getByRole("button", { name: "Delete pool" }).click();
    await b.fault("POOL_IN_USE");
    await dialog.getByRole("checkbox").check();
    await dialog.getByRole("button", { name: "Delete pool" }).click();
    await page.getByText("No pool yet").waitFor({ timeout: SLOW_MS });
  });
  await step("host is removed", async () => {
    await b.go("Hosts");
    await page.getByRole("link", { name: "host-1" }).first().click();
    await b.button("Remove host").click();
    const dialog = await question(b, 'Remove host "host-1"?');
    await dialog.getByText("no file is deleted").waitFor();
    await b.look("host-remove");
    await dialog.getByRole("textbox").fill("host-1");
    await dialog.getByRole("button", { name: "Remove host" }).click();
    await page.getByText("No host yet").waitFor({ timeout: SLOW_MS });
  });
}
