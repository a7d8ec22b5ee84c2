// My account and the second step of signing in, on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { FactorKind, FactorSchema } from "../../api/gen/quantix/factor/v1/factor_pb";
import { fakeSession } from "../../testing/fake-people";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";

it("sets up an authenticator app and shows recovery codes this once", async () => {
  const vdc = signIn(new FakeVdc());
  const { user } = renderApp(vdc, "/account");
  expect(await screen.findByText(/Your password alone opens everything/)).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Add authenticator app" }));
  const dialog = within(await screen.findByRole("dialog", { name: "Add authenticator app" }));
  await user.type(dialog.getByLabelText("Your password"), "wrong");
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  expect(await dialog.findByRole("alert", { name: "Error WRONG_CREDENTIALS" })).toBeTruthy();
  await user.clear(dialog.getByLabelText("Your password"));
  await user.type(dialog.getByLabelText("Your password"), "my password");
  await user.click(dialog.getByRole("button", { name: "Go on" }));
  expect(((await dialog.findByRole("img", { name: "QR code of the secret" })) as HTMLImageElement).src).toContain("data:image/svg+xml");
  expect(dialog.getByText("JBSWY3DP")).toBeTruthy();
  await user.type(dialog.getByLabelText("Code"), "000000");
  await user.click(dialog.getByRole("button", { name: "Turn on" }));
  expect(await dialog.findByRole("alert", { name: "Error SECOND_FACTOR_WRONG" })).toBeTruthy();
  await user.clear(dialog.getByLabelText("Code"));
  await user.type(dialog.getByLabelText("Code"), "123 456".replace(" ", ""));
  await user.click(dialog.getByRole("button", { name: "Turn on" }));
  const codes = within(await screen.findByRole("dialog", { name: "Recovery codes" }));
  expect(codes.getByText(/one-code/)).toBeTruthy();
  await user.click(codes.getByRole("button", { name: "I have kept them" }));
  expect(await screen.findByText(/10 recovery codes are left/)).toBeTruthy();
  expect(screen.queryByText(/one-code/)).toBeNull();
});

it("removes a second factor and ends sessions elsewhere", async () => {
  const vdc = signIn(new FakeVdc());
  vdc.people.factors = [create(FactorSchema, { id: "f", kind: FactorKind.TOTP, name: "Phone" })];
  vdc.people.sessions = [fakeSession("here", "Firefox on Linux", true), fakeSession("there", "Chrome on Windows")];
  const { user } = renderApp(vdc, "/account");
  await user.click(await screen.findByRole("button", { name: "Remove Phone" }));
  const ask = within(await screen.findByRole("dialog", { name: 'Remove "Phone"?' }));
  await user.type(ask.getByLabelText("Your password"), "my password");
  await user.click(ask.getByRole("button", { name: "Remove" }));
  await waitFor(() => expect(screen.queryByText("Phone")).toBeNull());
  expect(screen.queryByRole("button", { name: /^End session: Firefox/ })).toBeNull();
  await user.click(await screen.findByRole("button", { name: "End all others" }));
  await waitFor(() => expect(screen.queryByText(/Chrome on Windows/)).toBeNull());
  expect(screen.getByText(/Firefox on Linux/)).toBeTruthy();
});

it("asks for the second step, by code of the app or by recovery code", async () => {
  const vdc = new FakeVdc();
  vdc.mustChange = false;
  vdc.needsCode = true;
  const { user, history } = renderApp(vdc, "/login?next=%2Fusers");
  const first = async () => {
    await user.type(await screen.findByLabelText("User name"), "admin");
    await user.type(screen.getByLabelText("Password"), "one-time");
    await user.click(screen.getByRole("button", { name: "Sign in" }));
  };
  await first();
  await user.type(await screen.findByLabelText("Code of your authenticator app"), "999999");
  await user.click(screen.getByRole("button", { name: "Sign in" }));
  expect(await screen.findByRole("alert", { name: "Error SECOND_FACTOR_WRONG" })).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Use a recovery code" }));
  await user.type(await screen.findByLabelText("Recovery code"), "123456");
  await user.click(screen.getByRole("button", { name: "Sign in" }));
  await waitFor(() => expect(history.location.pathname).toBe("/users"));
});
