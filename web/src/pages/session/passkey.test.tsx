// Passkeys in the pages, with a browser and a vDC that only seem to be: adding one, signing in with it, and what is said
// when it does not work.
import { create } from "@bufbuild/protobuf";
import { cleanup, screen, waitFor, within } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import { FactorKind, FactorSchema } from "../../api/gen/quantix/factor/v1/factor_pb";
import { expectAccessible } from "../../testing/accessible";
import { browserSays, deviceAnswers, FakeCredentials } from "../../testing/fake-credentials";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";

afterEach(() => {
  cleanup();
  FakeCredentials.leave();
});

const laptop = () => create(FactorSchema, { id: "_-8", kind: FactorKind.PASSKEY, name: "Laptop", site: "localhost" });

function withPasskey(): FakeVdc {
  const vdc = new FakeVdc();
  vdc.mustChange = false;
  vdc.people.factors = [laptop()];
  return vdc;
}

const passkeyButton = () => screen.getByRole("button", { name: "Sign in with a passkey" });
const bytes = (source: BufferSource | undefined) => [...new Uint8Array(source as ArrayBuffer)];

it("adds a passkey and shows recovery codes with the first", async () => {
  const browser = FakeCredentials.come(false);
  const vdc = signIn(new FakeVdc());
  const { user, container } = renderApp(vdc, "/account");
  await user.click(await screen.findByRole("button", { name: "Add passkey" }));
  const dialog = within(await screen.findByRole("dialog", { name: "Add passkey" }));
  await user.type(dialog.getByLabelText("Your password"), "my password");
  browser.create = browserSays("InvalidStateError");
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  expect(await dialog.findByRole("alert", { name: "Error PASSKEY_KNOWN" })).toBeTruthy();
  browser.create = browserSays("NotAllowedError");
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  expect(await dialog.findByText(/the question was closed/)).toBeTruthy();
  browser.create = browserSays("ConstraintError");
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  expect(await dialog.findByText(/cannot keep a passkey/)).toBeTruthy();
  await expectAccessible(container);
  browser.create = deviceAnswers;
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  const codes = within(await screen.findByRole("dialog", { name: "Recovery codes" }));
  await user.click(codes.getByRole("button", { name: "I have kept them" }));
  expect(await screen.findByText("Passkey", { selector: "strong" })).toBeTruthy();
  expect(screen.getByText(/last used never/)).toBeTruthy();
  const made = JSON.parse(vdc.people.shown[0] ?? "") as Record<string, unknown>;
  expect(made).toMatchObject({ id: "_-8", rawId: "_-8", type: "public-key", response: { clientDataJSON: "AQID", attestationObject: "BA", transports: ["internal"] } });
});

it("hands the browser bytes, not texts", async () => {
  const browser = FakeCredentials.come(false);
  const vdc = signIn(withPasskey());
  vdc.people.factors = [{ ...laptop(), id: "other" }];
  const { user } = renderApp(vdc, "/account");
  await user.click(await screen.findByRole("button", { name: "Add passkey" }));
  const dialog = within(await screen.findByRole("dialog", { name: "Add passkey" }));
  await user.type(dialog.getByLabelText("Your password"), "my password");
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  const asked = browser.asked[0]?.publicKey;
  expect([bytes(asked?.challenge), bytes(asked?.user.id), bytes(asked?.excludeCredentials?.[0]?.id)]).toEqual([[1, 2, 3], [4, 5, 6], [255, 239]]);
});

it("says why none can be added, and which was made for another name", async () => {
  const plain = renderApp(signIn(withPasskey()), "/account");
  const button = await screen.findByRole("button", { name: "Add passkey" });
  expect(button.getAttribute("aria-disabled")).toBe("true");
  await plain.user.hover(button);
  expect(await screen.findByText(/only over HTTPS|has no passkeys/)).toBeTruthy();
  cleanup();
  FakeCredentials.come(false);
  const vdc = signIn(withPasskey());
  vdc.people.noPasskeys = "Passkeys belong to a name, and this page was opened as 192.0.2.7.";
  vdc.people.factors = [{ ...laptop(), site: "vdc.example", reasonIfNotHere: "It was made for vdc.example." }];
  const { user, container } = renderApp(vdc, "/account");
  expect(await screen.findByText(/Passkey made for vdc.example/)).toBeTruthy();
  await user.hover(screen.getByRole("button", { name: "Add passkey" }));
  expect(await screen.findByText(/opened as 192.0.2.7/)).toBeTruthy();
  await expectAccessible(container);
});

it("signs in with a passkey alone", async () => {
  const browser = FakeCredentials.come(false);
  const vdc = withPasskey();
  const { user, history, container } = renderApp(vdc, "/login?next=%2Fusers");
  await screen.findByRole("heading", { name: "Sign in" });
  const button = passkeyButton();
  await expectAccessible(container);
  browser.get = browserSays("NotAllowedError");
  await user.click(button);
  expect(await screen.findByRole("alert", { name: "Error PASSKEY_CANCELLED" })).toBeTruthy();
  browser.get = browserSays("NotAllowedError", "WebAuthn is not supported on sites with TLS certificate errors.");
  await user.click(button);
  expect(await screen.findByText(/does not trust the certificate/)).toBeTruthy();
  browser.get = browserSays("SecurityError");
  await user.click(button);
  expect(await screen.findByRole("alert", { name: "Error PASSKEY_WRONG_ADDRESS" })).toBeTruthy();
  browser.get = deviceAnswers;
  vdc.people.factors = [];
  await user.click(button);
  expect(await screen.findByRole("alert", { name: "Error PASSKEY_UNKNOWN" })).toBeTruthy();
  vdc.people.factors = [laptop()];
  await user.click(button);
  await waitFor(() => expect(history.location.pathname).toBe("/users"));
  expect(JSON.parse(vdc.people.shown[1] ?? "")).toMatchObject({ response: { userHandle: "BAUG", signature: "Bg", authenticatorData: "BQ" } });
});

it("offers passkeys where the name is typed, and takes the offer back for the window", async () => {
  const browser = FakeCredentials.come(true);
  const vdc = withPasskey();
  const { user, history } = renderApp(vdc, "/login?next=%2Fusers");
  expect((await screen.findByLabelText("User name")).getAttribute("autocomplete")).toBe("username webauthn");
  await waitFor(() => expect(browser.take).toBeTruthy());
  browser.get = browserSays("NotAllowedError");
  await user.click(screen.getByRole("button", { name: "Sign in with a passkey" }));
  expect(await screen.findByRole("alert", { name: "Error PASSKEY_CANCELLED" })).toBeTruthy();
  const [offer, window] = browser.asked;
  expect([offer?.mediation, offer?.signal?.aborted, window?.mediation]).toEqual(["conditional", true, undefined]);
  await waitFor(() => expect(browser.take).toBeTruthy());
  browser.take?.();
  await waitFor(() => expect(history.location.pathname).toBe("/users"));
});

it("says on the sign-in page why no passkey can be used", async () => {
  FakeCredentials.come(true);
  const vdc = withPasskey();
  vdc.people.noPasskeys = "Passkeys belong to a name, and this page was opened as 192.0.2.7.";
  const { user } = renderApp(vdc, "/login");
  await waitFor(() => expect(passkeyButton().getAttribute("aria-disabled")).toBe("true"));
  await user.hover(passkeyButton());
  expect(await screen.findByText(/opened as 192.0.2.7. Open it by its name./)).toBeTruthy();
});

async function firstStep(vdc: FakeVdc) {
  vdc.needsCode = true;
  const view = renderApp(vdc, "/login?next=%2Fusers");
  await view.user.type(await screen.findByLabelText("User name"), "admin");
  await view.user.type(screen.getByLabelText("Password"), "one-time");
  await view.user.click(screen.getByRole("button", { name: "Sign in" }));
  await screen.findByRole("heading", { name: "Second step" });
  return view;
}

it("offers the passkey first in the second step, and other ways beside", async () => {
  const browser = FakeCredentials.come(false);
  const vdc = withPasskey();
  vdc.secondFactor = { passkey: true };
  const { user, history, container } = await firstStep(vdc);
  browser.get = browserSays("NotAllowedError");
  await user.click(screen.getByRole("button", { name: "Use your passkey" }));
  expect(await screen.findByRole("alert", { name: "Error PASSKEY_CANCELLED" })).toBeTruthy();
  await expectAccessible(container);
  await user.click(screen.getByRole("button", { name: "Use a recovery code" }));
  expect(await screen.findByLabelText("Recovery code")).toBeTruthy();
  expect(screen.queryByRole("alert")).toBeNull();
  await user.click(screen.getByRole("button", { name: "Use a passkey" }));
  browser.get = deviceAnswers;
  await user.click(screen.getByRole("button", { name: "Use your passkey" }));
  await waitFor(() => expect(history.location.pathname).toBe("/users"));
});

it("says in the second step why the passkey does not work here", async () => {
  FakeCredentials.come(false);
  const vdc = withPasskey();
  vdc.secondFactor = { passkeyReasonIfNot: "It was made for vdc.example.", totp: false, recoveryCode: false };
  await firstStep(vdc);
  expect(screen.getByText(/None of your second factors/)).toBeTruthy();
  expect(screen.getByText(/It was made for vdc.example./)).toBeTruthy();
  expect(screen.getByRole("button", { name: "Back" })).toBeTruthy();
});
