// Roles and grants through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { GrantViewSchema, RoleSchema, type GrantView } from "../../api/gen/quantix/role/v1/role_pb";
import { VmSchema } from "../../api/gen/quantix/vm/v1/vm_pb";
import { expectAccessible } from "../../testing/accessible";
import { PERMISSIONS } from "../../testing/fake-rights";
import { fakeUser } from "../../testing/fake-people";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import { lostWith } from "./grant-dialogs";
import { groupsOf } from "./words";

const day = timestampFromMs(Date.now() - 24 * 3600_000);
const role = (name: string, permissions: string[]) => create(RoleSchema, { id: `role-${name}`, name, description: `For ${name}.`, permissions, changedAt: day });
const grant = (person: string, roleName: string, kind = "everything", name = "", id = name && `id-${name}`) =>
  create(GrantViewSchema, { userId: `user-${person}`, userName: person, role: `role-${roleName}`, roleName, scope: { kind, id, name }, createdAt: day, createdBy: "admin" });

function rig(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.rights.roles.push(role("backup", ["vm.view", "volume.view", "volume.manage"]), role("helpdesk", ["vm.view", "vm.power", "vm.console"]));
  vdc.rights.grants.push(grant("anna", "backup"), grant("anna", "helpdesk", "vm", "web-1"), grant("ben", "helpdesk", "vm", "", "id-old"));
  vdc.people.users = ["anna", "ben"].map((name) => ({ ...fakeUser(name), id: `user-${name}` }));
  return vdc;
}

async function rowOf(text: string) {
  return (await screen.findByText(text)).closest("tr")!;
}

describe("roles", () => {
  it("lists them with what they allow in words, and leaves alone what is always there", async () => {
    const { container, user } = renderApp(rig(), "/roles");
    const admin = await rowOf("Everything");
    expect(admin.textContent).toContain("always there");
    const change = within(admin).getByRole("button", { name: "Change" });
    expect(change.getAttribute("aria-disabled")).toBe("true");
    await user.hover(change);
    expect(await screen.findByText("This role is always there and stays as it is.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "3 permissions of role backup" }));
    expect(screen.getByRole("list", { name: "What role backup may" }).textContent).toContain("may create, grow, clone, attach, snapshot and delete volumes");
    await expectAccessible(container);
    await user.click(screen.getByRole("link", { name: "2 grants of role helpdesk" }));
    expect((await rowOf("ben")).textContent).toContain("a VM that is gone");
  });

  it("makes one from chosen permissions, a whole group at once", async () => {
    const vdc = rig();
    const { user } = renderApp(vdc, "/roles?new=true");
    const dialog = await screen.findByRole("dialog", { name: "Create role" });
    const submit = within(dialog).getByRole<HTMLButtonElement>("button", { name: "Create role" });
    await user.type(within(dialog).getByLabelText("Name"), "night");
    await user.type(within(dialog).getByLabelText(/What it is for/), "The night watch");
    expect(submit.disabled).toBe(true);
    await user.click(within(dialog).getByRole("button", { name: "All of VMs" }));
    await user.click(within(dialog).getByRole("checkbox", { name: "open consoles of VMs" }));
    await user.click(within(dialog).getByRole("checkbox", { name: "see hosts, their disks and their logs" }));
    expect(within(dialog).getByText(/chosen\)/).textContent).toBe(`(4 of ${PERMISSIONS.length} chosen)`);
    await expectAccessible(dialog);
    await user.click(submit);
    expect(await rowOf("The night watch")).toBeTruthy();
    expect(vdc.rights.roles.at(-1)?.permissions).toEqual(["host.view", "vm.view", "vm.power", "vm.manage"]);
    expect(screen.queryByRole("dialog")).toBeNull();
  });

  it("changes one, and says for how many that counts", async () => {
    const vdc = rig();
    const { user } = renderApp(vdc, "/roles");
    await user.click(within(await rowOf("For helpdesk.")).getByRole("button", { name: "Change" }));
    const dialog = await screen.findByRole("dialog", { name: 'Change role "helpdesk"' });
    expect(dialog.textContent).toContain("2 grants");
    await user.click(within(dialog).getByRole("checkbox", { name: "start, stop and pause VMs" }));
    await user.click(within(dialog).getByRole("button", { name: "Save changes" }));
    expect(await screen.findByRole("button", { name: "2 permissions of role helpdesk" })).toBeTruthy();
    expect(vdc.rights.roles.find((r) => r.name === "helpdesk")).toMatchObject({ id: "role-helpdesk", permissions: ["vm.view", "vm.console"] });
  });

  it("deletes none that somebody has, and shows who", async () => {
    const vdc = rig();
    const { user } = renderApp(vdc, "/roles");
    await user.click(within(await rowOf("For helpdesk.")).getByRole("button", { name: "Delete" }));
    const dialog = await screen.findByRole("dialog", { name: 'Delete role "helpdesk"?' });
    expect(dialog.textContent).toContain("take it away from them");
    await user.click(within(dialog).getByRole("button", { name: "Delete role" }));
    expect((await screen.findByRole("alert", { name: "Error ROLE_IN_USE" })).textContent).toContain("anna, ben");
    vdc.rights.grants = vdc.rights.grants.filter((g) => g.roleName !== "helpdesk");
    await user.click(within(dialog).getByRole("button", { name: "Delete role" }));
    await waitFor(() => expect(screen.queryByText("For helpdesk.")).toBeNull());
  });

  it("lets those look who may not change, and says what it needs", async () => {
    const vdc = rig();
    vdc.rights.permissions = ["people.view"];
    const { user } = renderApp(vdc, "/roles");
    await rowOf("For backup.");
    const button = screen.getByRole("button", { name: "Create role" });
    expect(button.getAttribute("aria-disabled")).toBe("true");
    await user.hover(button);
    expect((await screen.findByRole("tooltip")).textContent).toContain("You need people.manage on everything.");
  });

  it("lets nobody choose what they do not have", async () => {
    const vdc = rig();
    vdc.rights.permissions = vdc.rights.permissions.filter((p) => p !== "setting.manage");
    renderApp(vdc, "/roles?new=true");
    const box = await screen.findByRole<HTMLInputElement>("checkbox", { name: "change settings of the vDC" });
    expect(box.disabled).toBe(true);
    expect(screen.getByText("You do not have it yourself on everything.")).toBeTruthy();
  });

  it("groups what it does not know under its own word", () => {
    const groups = groupsOf(["vm.view", "robot.move", "vm.power"].map((word) => ({ $typeName: "quantix.role.v1.Permission", word, text: word })));
    expect(groups.map((g) => [g.title, g.permissions.length])).toEqual([
      ["VMs", 2],
      ["Robot", 1],
    ]);
  });
});

describe("grants", () => {
  it("shows who may do what on what, and finds by words", async () => {
    const { user, container, history } = renderApp(rig(), "/roles?tab=grants");
    expect((await screen.findByRole("link", { name: "web-1" })).getAttribute("href")).toBe("/vms/id-web-1");
    expect(within(await rowOf("ben")).getByText("a VM that is gone").getAttribute("title")).toBe("id-old");
    expect(screen.getByRole("link", { name: "What they did: ben" }).getAttribute("href")).toBe("/audit?actor=user-ben");
    await expectAccessible(container);
    await user.type(screen.getByRole("textbox", { name: "Filter by person, role or object" }), "web");
    await waitFor(() => expect(screen.queryByText("ben")).toBeNull());
    expect(history.location.href).toBe("/roles?tab=grants&q=web");
    await user.type(screen.getByRole("textbox", { name: "Filter by person, role or object" }), "zz");
    expect(await screen.findByText('No grant with "webzz"')).toBeTruthy();
  });

  it("gives a role on one VM that is searched by name", async () => {
    const vdc = rig();
    vdc.vms = ["web-1", "web-2", "db-1"].map((name) => create(VmSchema, { id: `id-${name}`, name, host: "host-1" }));
    const { user } = renderApp(vdc, "/roles?tab=grants&new=true");
    const dialog = await screen.findByRole("dialog", { name: "Give a role" });
    const submit = within(dialog).getByRole<HTMLButtonElement>("button", { name: "Give role" });
    await user.type(within(dialog).getByRole("combobox", { name: "Person" }), "be");
    await waitFor(() => expect(within(within(dialog).getByRole("listbox", { name: "Person" })).getAllByRole("option").map((o) => o.textContent)).toEqual(["ben"]));
    await user.keyboard("{Enter}");
    await user.selectOptions(within(dialog).getByLabelText("Role"), "backup");
    expect(within(dialog).getByText("For backup.")).toBeTruthy();
    expect(submit.disabled).toBe(false);
    await user.selectOptions(within(dialog).getByLabelText("On what"), "vm");
    expect(submit.disabled).toBe(true);
    await user.type(within(dialog).getByRole("combobox", { name: "VM" }), "web-2");
    await user.click(await within(dialog).findByRole("option", { name: "web-2 on host-1" }));
    await expectAccessible(dialog);
    await user.click(submit);
    expect(await screen.findByRole("link", { name: "web-2" })).toBeTruthy();
    expect(vdc.rights.grants.at(-1)).toMatchObject({ userId: "user-ben", role: "role-backup", scope: { kind: "vm", id: "id-web-2" } });
  });

  it("says what somebody may no longer do before it takes a role away", async () => {
    const vdc = rig();
    const { user } = renderApp(vdc, "/roles?tab=grants&q=web-1");
    await user.click(await screen.findByRole("button", { name: "Take away" }));
    const dialog = await screen.findByRole("dialog", { name: 'Take role "helpdesk" away from anna?' });
    // Seeing VMs stays: another role allows it on everything.
    const lost = await within(dialog).findByRole("list", { name: "No longer allowed" });
    expect(within(lost).getAllByRole("listitem").map((li) => li.textContent)).toEqual(["start, stop and pause VMs", "open consoles of VMs"]);
    expect(dialog.textContent).toContain('On VM "web-1", anna may no longer');
    await user.click(within(dialog).getByRole("button", { name: "Take role away" }));
    await waitFor(() => expect(vdc.rights.grants.map((g) => `${g.userName} ${g.roleName}`)).toEqual(["admin admin", "anna backup", "ben helpdesk"]));
  });

  it("keeps the last one who may do everything", async () => {
    const { user } = renderApp(rig(), "/roles?tab=grants&q=admin");
    await user.click(await screen.findByRole("button", { name: "Take away" }));
    const dialog = await screen.findByRole("dialog", { name: 'Take role "admin" away from admin?' });
    expect(dialog.textContent).toContain("This is a role of your own");
    await user.click(within(dialog).getByRole("button", { name: "Take role away" }));
    expect((await screen.findByRole("alert", { name: "Error LAST_ADMIN" })).textContent).toContain("Give somebody else the role admin first.");
  });

  it("counts what other grants on the same thing allow", () => {
    const roles = [role("a", ["vm.view", "vm.power"]), role("b", ["vm.power"])];
    const grants: GrantView[] = [grant("anna", "a", "vm", "web"), grant("anna", "b", "vm", "web"), grant("anna", "b", "vm", "db"), grant("ben", "a")];
    expect(lostWith(grants[0]!, grants, roles)).toEqual(["vm.view"]);
    expect(lostWith(grants[1]!, grants, roles)).toEqual([]);
    expect(lostWith(grants[2]!, grants, roles)).toEqual(["vm.power"]);
  });
});
