// Those who let others in: users, roles, API tokens, a provider that is tested and signed in with, and what the audit log
// tells of it. The provider is a real one (lab/oidc); its certificate is its own, as in many a company.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { alone } from "./alone.mjs";
import { Browser } from "./browser.mjs";
import { freePort, Program } from "./rig.mjs";

const HOME = new URL("../../lab/oidc/", import.meta.url).pathname;
const SECRET = "CanaryOf:Lab%Secret";
const TITLE = "Company sign-in";

/** A provider that takes any password of those it knows. */
class Provider {
  static async start(redirectUri) {
    const self = new Provider();
    self.dir = mkdtempSync(join(tmpdir(), "quantix-oidc-"));
    const file = (name) => join(self.dir, name);
    const made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("key.pem"), "-out", file("cert.pem")];
    execFileSync("openssl", ["req", "-x509", ...made, "-days", "2", "-subj", "/CN=Company provider", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"], { stdio: "pipe" });
    self.caPem = readFileSync(file("cert.pem"), "utf8");
    writeFileSync(file("accounts.json"), JSON.stringify({ ann: { preferred_username: "ann", groups: ["ops"] } }));
    const port = await freePort();
    self.issuer = `https://localhost:${port}`;
    self.program = new Program("provider", "node", [join(HOME, "provider.mjs"), String(port), file("cert.pem"), file("key.pem"), file("accounts.json"), redirectUri]);
    await self.program.line("ready");
    return self;
  }

  async stop() {
    await this.program.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const dialogOf = (b, name) => b.page.getByRole("dialog", { name });
const within = (b) => b.page.getByRole("navigation", { name: "Main" }).waitFor();

async function signIn(b, password) {
  await b.page.goto("/login");
  await b.page.getByLabel("User name").fill("admin");
  await b.page.getByLabel("Password", { exact: true }).fill(password);
  await b.page.getByRole("button", { name: "Sign in", exact: true }).click();
  await within(b);
}

async function people(b, step) {
  await step("user is made, with a password to hand over", async () => {
    await b.go("Users");
    await b.button("Create user").click();
    await dialogOf(b, "Create user").getByLabel("Name").fill("olga");
    await b.look("user-create");
    await dialogOf(b, "Create user").getByRole("button", { name: "Create user" }).click();
    await dialogOf(b, /One-time password/).waitFor();
    await b.look("user-handover");
    await dialogOf(b, /One-time password/).getByText("Done").click();
    await b.page.getByRole("cell", { name: "olga" }).first().waitFor();
  });
  await step("role of one's own is made and given", async () => {
    await b.go("Roles");
    await b.look("roles");
    await b.button("Create role").click();
    const role = dialogOf(b, "Create role");
    await role.getByLabel("Name").fill("night-shift");
    await role.getByRole("button", { name: "All of VMs" }).click();
    await b.look("role-create");
    await role.getByRole("button", { name: "Create role" }).click();
    await role.waitFor({ state: "detached" });
    await b.page.getByRole("tab", { name: "Who may do what" }).click();
    await b.button("Give a role").click();
    const give = dialogOf(b, "Give a role");
    await give.getByRole("combobox", { name: "Person" }).fill("olga");
    await b.page.getByRole("option", { name: /olga/ }).first().click();
    await give.getByLabel("Role", { exact: true }).selectOption({ label: "night-shift" });
    await b.look("role-give");
    await give.getByRole("button", { name: "Give role" }).click();
    await give.waitFor({ state: "detached" });
    await b.look("grants");
  });
  await step("API token is shown once", async () => {
    await b.page.goto("/tokens");
    await b.button("Create token").first().click();
    const token = dialogOf(b, "Create API token");
    await token.getByLabel("Name").fill("backup");
    await token.getByRole("button", { name: "All of VMs" }).click();
    await b.look("token-create");
    await token.getByRole("button", { name: "Create token" }).click();
    await dialogOf(b, /is made/).waitFor();
    await b.look("token-made");
    await b.button("I have kept it").click();
    await b.page.getByRole("cell", { name: /backup/ }).first().waitFor();
    await b.look("tokens");
  });
}

async function sources(b, its, step) {
  await step("provider that does not answer says why, before anything is saved", async () => {
    await b.go("Sign-in");
    await b.look("sign-in-empty");
    await b.button("Add provider or directory").first().click();
    const add = dialogOf(b, "Add provider or directory");
    await add.getByLabel("Title").fill(TITLE);
    await add.getByLabel("Issuer").fill("https://localhost:1");
    await add.getByLabel("Client ID").fill("quantix");
    await add.getByLabel("Client secret").fill(SECRET);
    await add.getByRole("button", { name: "Test" }).click();
    await add.getByRole("alert").first().waitFor();
    await b.look("source-refused");
    await add.getByLabel("Issuer").fill(its.issuer);
    await add.getByRole("button", { name: "Test" }).click();
    await add.getByText("shows a certificate that nobody trusted has signed.").waitFor();
  });
  await step("provider is tested and added, and its groups bring roles", async () => {
    const add = dialogOf(b, "Add provider or directory");
    await add.getByText("What is asked for, and whose certificate it has").click();
    await add.getByLabel("Scopes").fill("profile groups");
    await add.getByLabel(/^Claim of the groups/).fill("groups");
    await add.getByLabel(/^Certificate authority/).fill(its.caPem);
    await add.getByRole("button", { name: "Test" }).click();
    await add.getByText("All is well: people can sign in with it.").waitFor();
    await add.getByRole("button", { name: "Add rule" }).click();
    await add.getByLabel("Group of rule 1").fill("ops");
    await add.getByLabel("Role of rule 1").selectOption({ label: "operator" });
    await add.getByLabel("Let in whoever it knows").check();
    await b.look("source-add");
    await add.getByRole("button", { name: "Add", exact: true }).click();
    await add.waitFor({ state: "detached" });
    await b.page.getByRole("cell", { name: TITLE }).first().waitFor();
  });
}

/** Somebody else, in a browser of their own. */
async function stranger(origin, shots, step) {
  const b = await Browser.open(origin, shots, { ignoreHTTPSErrors: true });
  try {
    await step("signs in at the provider and may what the group brings", async () => {
      await b.page.goto("/vms");
      const way = b.page.getByRole("link", { name: `Sign in with ${TITLE}` });
      await way.waitFor();
      await b.look("login-provider");
      await way.click();
      await b.page.locator("input[name=login]").fill("ann");
      await b.page.locator("input[name=password]").fill("x");
      await b.page.locator("button[type=submit]").click();
      await b.page.getByRole("button", { name: /continue/i }).click();
      await within(b);
      await b.page.getByRole("heading", { name: "VMs", level: 1 }).waitFor();
      await b.page.goto("/account");
      await b.page.getByRole("heading", { name: "My account" }).waitFor();
      await b.look("account-of-provider");
    });
  } finally {
    await b.browser.close();
  }
  return b.problems;
}

async function afterwards(b, step) {
  await step("pages of the administration are full and look right", async () => {
    for (const [place, name] of [["Users", "users"], ["Sign-in", "sign-in"], ["Certificates", "certificates"], ["Audit log", "audit"]]) {
      await b.go(place);
      await b.page.waitForTimeout(700);
      await b.look(name);
    }
  });
  await step("deleted provider takes its people with it", async () => {
    await b.go("Sign-in");
    await b.button(`Delete ${TITLE}`).click();
    const ask = b.page.getByRole("dialog");
    await ask.getByRole("textbox").fill(TITLE);
    await b.look("source-delete");
    await ask.getByRole("button", { name: "Delete it and its person" }).click();
    await ask.waitFor({ state: "detached" });
    await b.go("Users");
    await b.page.getByRole("cell", { name: "ann", exact: true }).waitFor({ state: "detached" });
  });
}

/** `url`: the vDC's page over TLS, as browsers come back to it. */
export async function adminSteps(url, shots, password, step) {
  const b = await Browser.open(url, shots, { ignoreHTTPSErrors: true });
  const its = await Provider.start(`${url}/api/v1/sign-in/oidc/callback`);
  try {
    await signIn(b, password);
    await people(b, step);
    await sources(b, its, step);
    b.problems.push(...(await stranger(url, shots, step)));
    await afterwards(b, step);
  } catch (error) {
    await b.page.screenshot({ path: join(shots, "admin-failed.png") }).catch(() => undefined);
    throw error;
  } finally {
    await its.stop();
    await b.browser.close();
  }
  return b.problems;
}

await alone(import.meta.url, adminSteps);
