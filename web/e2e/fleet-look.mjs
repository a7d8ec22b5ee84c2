// Looks at a fleet that `./x fleet` runs: screenshots of the pages that grow with it, light and dark, and how long each took.
//
//   node web/e2e/fleet-look.mjs http://127.0.0.1:PORT PASSWORD FOLDER
//
// The one-time password is changed into itself with a word behind it, which is printed. Ends with 1 when a page complains. Give `./x fleet` some troubles (`--silent 20 --flapping 40`), else all is well.
import { Browser, SLOW_MS } from "./browser.mjs";

const [origin, password, folder] = process.argv.slice(2);
if (!origin || !password || !folder) {
  console.error("usage: node web/e2e/fleet-look.mjs ORIGIN PASSWORD FOLDER");
  process.exit(2);
}
const b = await Browser.open(origin, folder);

/** The link in the menu may carry a count. */
async function go(place) {
  await b.page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: new RegExp(`^${place}`) }).click();
  await b.page.getByRole("heading", { name: place, level: 1 }).waitFor();
}

async function timed(name, work) {
  const began = Date.now();
  await work();
  console.log(`${name}: ${Date.now() - began} ms`);
}

await b.page.goto("/");
await b.page.getByLabel("User name").fill("admin");
await b.page.getByLabel("Password", { exact: true }).fill(password);
await b.button("Sign in").click();
await Promise.race([
  b.page.getByLabel("New password", { exact: true }).waitFor({ timeout: SLOW_MS }),
  b.page.getByRole("navigation", { name: "Main" }).waitFor({ timeout: SLOW_MS }),
]);
if (await b.page.getByLabel("New password", { exact: true }).isVisible()) {
  const chosen = `${password} again`;
  await b.page.getByLabel("One-time password").fill(password);
  await b.page.getByLabel("New password", { exact: true }).fill(chosen);
  await b.page.getByLabel("New password again").fill(chosen);
  await b.button("Change password").click();
  await b.page.getByRole("navigation", { name: "Main" }).waitFor({ timeout: SLOW_MS });
  console.log(`the password is now: ${chosen}`);
}

for (const place of ["Dashboard", "Hosts", "Pools", "VMs", "Events", "Alerts"]) {
  await timed(place, async () => {
    await go(place);
    await b.page.getByRole("main").getByRole("link").first().waitFor({ timeout: SLOW_MS });
  });
  await b.page.waitForTimeout(1_500);
  await b.look(`fleet-${place.toLowerCase()}`);
}

await go("VMs");
await timed("filter of VMs", async () => {
  const answered = b.page.waitForResponse((response) => response.url().includes("ListVms"));
  await b.page.getByLabel("Filter VMs by name").fill("web-12");
  await answered;
});
await b.page.waitForTimeout(1_000);
await b.look("fleet-vms-filtered");

// The pools and the host that an alert is about: the reason must be readable by a person who knows nothing. A pool of a rack
// is shared by many hosts, and one of them cannot use it.
for (const [what, path, name] of [["pool", "/pools/", /./], ["shared-pool", "/pools/", /^rack-/], ["host", "/hosts/", /./]]) {
  await go("Alerts");
  const link = b.page.locator(`main a[href*="${path}"]`).filter({ hasText: name }).first();
  await link.waitFor({ timeout: SLOW_MS }).catch(() => undefined);
  if ((await link.count()) === 0) {
    console.log(`no alert tells of a ${what}`);
    continue;
  }
  await timed(`page of a ${what} in trouble`, async () => {
    await link.click();
    await b.page.getByRole("heading", { level: 1 }).waitFor();
  });
  await b.page.waitForTimeout(1_500);
  await b.look(`fleet-${what}-in-trouble`);
  if (path !== "/pools/") continue;
  await b.page.getByRole("tab", { name: /^Hosts/ }).click();
  await b.page.waitForTimeout(1_500);
  await b.look(`fleet-${what}-in-trouble-hosts`);
}
await b.browser.close();
for (const problem of b.problems) console.error(problem);
process.exit(b.problems.length === 0 ? 0 : 1);
