// People through the whole app on a fake vDC: made, turned off, taken away, their sessions ended.
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { fakeSession, fakeUser } from "../../testing/fake-people";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";

function withPeople(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.people.users = [fakeUser("admin", { delete: "That is you.", disable: "That is you." }), fakeUser("eva")];
  return vdc;
}

const row = async (name: string) => within(await screen.findByRole("row", { name: new RegExp(`^${name}`) }));

/** Opens what may be done with one, and finds an action in it. */
async function action(user: ReturnType<typeof renderApp>["user"], name: string, label: string) {
  await user.click((await row(name)).getByRole("button", { name: `Actions of ${name}` }));
  return screen.findByRole("menuitem", { name: new RegExp(`^${label}`) });
}

it("makes a user and shows the one-time password this once", async () => {
  const vdc = withPeople();
  const { user } = renderApp(vdc, "/users");
  await user.click(await screen.findByRole("button", { name: "Create user" }));
  const dialog = within(await screen.findByRole("dialog", { name: "Create user" }));
  await user.type(dialog.getByRole("textbox", { name: "Name" }), "eva");
  await user.click(dialog.getByRole("button", { name: "Create user" }));
  expect((await dialog.findByRole("alert", { name: "Error NAME_TAKEN" })).textContent).toContain("eva");
  await user.type(dialog.getByRole("textbox", { name: "Name" }), ".b");
  await user.click(dialog.getByRole("button", { name: "Create user" }));
  const told = within(await screen.findByRole("dialog", { name: 'One-time password of "eva.b"' }));
  expect(told.getByText("aaaaa-bbbbb-ccccc-ddddd")).toBeTruthy();
  await user.click(told.getByRole("button", { name: "Done" }));
  expect((await row("eva.b")).getByText("May sign in")).toBeTruthy();
  expect(screen.queryByText("aaaaa-bbbbb-ccccc-ddddd")).toBeNull();
});

it("says why oneself stays, and asks before others go", async () => {
  const vdc = withPeople();
  const { user } = renderApp(vdc, "/users");
  const own = await action(user, "admin", "Delete");
  expect(own.getAttribute("aria-disabled")).toBe("true");
  expect(own.textContent).toContain("That is you.");
  await user.keyboard("{Escape}");
  await user.click(await action(user, "eva", "Turn off"));
  await user.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Turn off" }));
  expect(await (await row("eva")).findByText("Turned off")).toBeTruthy();
  await user.click(await action(user, "eva", "Delete"));
  const ask = within(await screen.findByRole("dialog", { name: 'Delete user "eva"?' }));
  const button = ask.getByRole("button", { name: "Delete user" }) as HTMLButtonElement;
  expect(button.disabled).toBe(true);
  await user.type(ask.getByRole("textbox"), "eva");
  await user.click(button);
  await waitFor(() => expect(screen.queryByRole("row", { name: /^eva/ })).toBeNull());
  expect(vdc.people.done).toEqual(["off eva", "delete eva"]);
});

it("resets a password and ends sessions of somebody", async () => {
  const vdc = withPeople();
  vdc.people.sessions = [fakeSession("s1", "Firefox on Linux"), fakeSession("s2", "Chrome on Windows")];
  const { user } = renderApp(vdc, "/users");
  await user.click(await action(user, "eva", "Reset password"));
  await user.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Reset password" }));
  expect(await screen.findByText("eeeee-fffff-ggggg-hhhhh")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Done" }));
  await user.click((await row("eva")).getByRole("button", { name: "1 sessions of eva" }));
  const dialog = within(await screen.findByRole("dialog", { name: 'Sessions of "eva"' }));
  await user.click(await dialog.findByRole("button", { name: "End session: Firefox on Linux at 192.0.2.7" }));
  await waitFor(() => expect(dialog.queryByText(/Firefox on Linux/)).toBeNull());
  await user.click(dialog.getByRole("button", { name: "End all sessions" }));
  expect(await dialog.findByText("Not signed in anywhere")).toBeTruthy();
});
