// People, as the main job meets them: a passkey is made and then signs in alone. The device is Chromium's own virtual one
// (DevTools protocol, domain WebAuthn). Run alone, against a vDC started by hand:
//   QUANTIX_PAGE=http://localhost:8080 QUANTIX_PASSWORD=… node e2e/people-steps.mjs
import { join } from "node:path";
import { alone } from "./alone.mjs";
import { Browser } from "./browser.mjs";

/** A device with passkeys that checks who holds it. It answers only while somebody is there to touch it. */
async function device(page) {
  const line = await page.context().newCDPSession(page);
  await line.send("WebAuthn.enable");
  const options = { protocol: "ctap2", ctap2Version: "ctap2_1", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: false };
  const { authenticatorId } = await line.send("WebAuthn.addVirtualAuthenticator", { options });
  const touch = (enabled) => line.send("WebAuthn.setAutomaticPresenceSimulation", { authenticatorId, enabled });
  return {
    /** Somebody touches it while `work` goes on. */
    async touched(work) {
      await touch(true);
      await work();
      await touch(false);
    },
    verify: (isUserVerified) => line.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified }),
    credentials: async () => (await line.send("WebAuthn.getCredentials", { authenticatorId })).credentials,
  };
}

/**
 * Whether the sign-in page offers passkeys by itself. The virtual device takes an offer at once, so that nobody could press
 * the button any more.
 */
const offers = (page, wanted) =>
  page.evaluate((on) => {
    sessionStorage.setItem("offers", String(on));
    if (!on) PublicKeyCredential.isConditionalMediationAvailable = async () => false;
  }, wanted);
const keepOffers = (page) =>
  page.addInitScript(() => {
    if (sessionStorage.getItem("offers") === "false") PublicKeyCredential.isConditionalMediationAvailable = async () => false;
  });

const signInPage = async (page) => page.getByRole("heading", { name: "Sign in" }).waitFor();
const within = async (page) => page.getByRole("navigation", { name: "Main" }).waitFor();

async function signIn(b, password) {
  await b.page.getByLabel("User name").fill("admin");
  await b.page.getByLabel("Password", { exact: true }).fill(password);
  await b.page.getByRole("button", { name: "Sign in", exact: true }).click();
}

async function signOut(b) {
  await b.button("Account").click();
  await b.page.getByRole("menuitem", { name: "Sign out" }).click();
  await signInPage(b.page);
}

/** `origin`: the vDC's page by name; passkeys belong to one. */
export async function peopleSteps(origin, shots, password, step) {
  const b = await Browser.open(origin, shots);
  try {
    const key = await device(b.page);
    await keepOffers(b.page);
    await step("passkey is made under My account", async () => {
      await b.page.goto("/account");
      await signInPage(b.page);
      await b.look("login-passkey");
      await signIn(b, password);
      await b.button("Add passkey").click();
      const dialog = b.page.getByRole("dialog", { name: "Add passkey" });
      await dialog.getByLabel("Name").fill("Laptop");
      await dialog.getByLabel("Your password").fill(password);
      await b.look("passkey-add");
      await key.touched(async () => {
        await dialog.getByRole("button", { name: "Go on" }).click();
        await b.page.getByRole("dialog", { name: "Recovery codes" }).waitFor();
      });
      await b.page.getByRole("button", { name: "I have kept them" }).click();
      await b.page.getByText("Laptop", { exact: true }).waitFor();
      await b.look("account-passkey");
      const [made] = await key.credentials();
      if (!made?.isResidentCredential) throw new Error(`the device keeps ${JSON.stringify(made)}`);
    });
    await step("the same device is not added twice", async () => {
      await b.button("Add passkey").click();
      const dialog = b.page.getByRole("dialog", { name: "Add passkey" });
      await dialog.getByLabel("Your password").fill(password);
      await key.touched(async () => {
        await dialog.getByRole("button", { name: "Go on" }).click();
        await b.fault("PASSKEY_KNOWN");
      });
      await b.look("passkey-known");
      await dialog.getByRole("button", { name: "Cancel" }).click();
    });
    await step("it signs in alone", async () => {
      await offers(b.page, false);
      await signOut(b);
      await key.touched(async () => {
        await b.button("Sign in with a passkey").click();
        await within(b.page);
      });
    });
    await step("it is offered where the name is typed", async () => {
      await offers(b.page, true);
      await signOut(b);
      // The virtual device takes an offer at once, or not at all.
      await key.touched(async () => {
        await b.page.reload();
        await within(b.page);
      });
    });
    await step("it is the second step after the password", async () => {
      await offers(b.page, false);
      await signOut(b);
      await signIn(b, password);
      await b.page.getByRole("heading", { name: "Second step" }).waitFor();
      await b.look("login-second-passkey");
      await key.touched(async () => {
        await b.button("Use your passkey").click();
        await within(b.page);
      });
    });
    await step("a holder who is not checked does not come in", async () => {
      await signOut(b);
      await key.verify(false);
      await key.touched(async () => {
        await b.button("Sign in with a passkey").click();
        await b.fault("PASSKEY_CANCELLED");
      });
      await b.look("login-passkey-refused");
      await key.verify(true);
    });
    await step("by IP address the page says where passkeys work", async () => {
      const { port } = new URL(origin);
      await b.page.goto(`http://127.0.0.1:${port}/login`);
      const button = b.button("Sign in with a passkey");
      await b.page.locator("[aria-disabled=true]", { hasText: "Sign in with a passkey" }).waitFor();
      await button.hover();
      await b.page.getByText(`Open this page as http://localhost:${port}.`).waitFor();
      await b.look("login-by-address");
    });
    await step("a removed passkey opens nothing", async () => {
      await b.page.goto(`${origin}/login`);
      await signInPage(b.page);
      await key.touched(async () => {
        await b.button("Sign in with a passkey").click();
        await within(b.page);
      });
      await b.page.goto("/account");
      await b.button("Remove Laptop").click();
      const dialog = b.page.getByRole("dialog");
      await dialog.getByLabel("Your password").fill(password);
      await dialog.getByRole("button", { name: "Remove" }).click();
      await b.page.getByText(/Your password alone opens everything/).waitFor();
      await signOut(b);
      await key.touched(async () => {
        await b.button("Sign in with a passkey").click();
        await b.fault("PASSKEY_UNKNOWN");
      });
    });
  } catch (error) {
    await b.page.screenshot({ path: join(shots, "people-failed.png") }).catch(() => undefined);
    throw error;
  } finally {
    await b.browser.close();
  }
  return b.problems;
}

await alone(import.meta.url, peopleSteps);
