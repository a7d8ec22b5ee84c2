// What of the app is open to whom.
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { expectAccessible } from "../testing/accessible";
import { FakeVdc } from "../testing/fake-vdc";
import { renderApp, signIn } from "../testing/render";

const labels = (nav: HTMLElement) => within(nav).getAllByRole("link").map((link) => link.textContent);

function person(permissions: string[], somewhere: string[] = []): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.rights.permissions = permissions;
  vdc.rights.permissionsSomewhere = somewhere;
  return vdc;
}

it("shows an administrator every place, with what is theirs under a heading of its own", async () => {
  const { container } = renderApp(signIn(new FakeVdc()), "/");
  const nav = await screen.findByRole("navigation", { name: "Main" });
  expect(labels(nav)).toEqual(["Dashboard", "Hosts", "VMs", "Pools", "Volumes", "Images", "Tasks", "Alerts", "Events", "Certificates", "Users", "Sign-in", "Roles", "Audit log"]);
  expect(labels(within(nav).getByRole("list", { name: "Administration" }))).toEqual(["Certificates", "Users", "Sign-in", "Roles", "Audit log"]);
  await screen.findByRole("list", { name: "First steps" });
  await expectAccessible(container);
});

it("leads a person with one VM to it, and offers nothing else", async () => {
  const vdc = person([], ["vm.view", "vm.power"]);
  const { history, user } = renderApp(vdc, "/");
  expect(await screen.findByRole("heading", { name: "VMs" })).toBeTruthy();
  expect(history.location.pathname).toBe("/vms");
  const nav = screen.getByRole("navigation", { name: "Main" });
  expect(labels(nav)).toEqual(["VMs", "Tasks"]);
  expect(within(nav).queryByText("Administration")).toBeNull();
  await user.keyboard("{Control>}k{/Control}");
  const finds = within(await screen.findByRole("listbox")).getAllByRole("option").map((o) => o.textContent);
  expect(finds).toEqual(["VMs", "Tasks", "API tokens", "Change password"]);
});

it("says so to a person whom nobody gave a role", async () => {
  const { container } = renderApp(person([]), "/");
  expect(await screen.findByRole("heading", { name: "Nothing is open to you yet" })).toBeTruthy();
  expect(labels(screen.getByRole("navigation", { name: "Main" }))).toEqual(["Tasks"]);
  await expectAccessible(container);
});

it("says which right is missing on a page that is not open", async () => {
  renderApp(person(["vm.view"]), "/roles?tab=grants");
  expect((await screen.findByText("people.view")).parentElement?.textContent).toContain("is missing");
});

it("opens the account menu by mouse and by keys, and leads to the tokens", async () => {
  const vdc = signIn(new FakeVdc());
  const { history, user } = renderApp(vdc, "/tasks");
  await screen.findByRole("heading", { name: "Tasks" });
  await user.click(screen.getByRole("button", { name: "Account" }));
  expect(await screen.findByText("Signed in as admin")).toBeTruthy();
  const button = screen.getByRole("button", { name: "Account" });
  await waitFor(() => expect(document.activeElement).toBe(button));
  await user.keyboard("{Escape}");
  await waitFor(() => expect(screen.queryByText("Signed in as admin")).toBeNull());
  await user.keyboard("{Enter}");
  await user.click(await screen.findByRole("menuitem", { name: "API tokens" }));
  await waitFor(() => expect(history.location.pathname).toBe("/tokens"));
});
