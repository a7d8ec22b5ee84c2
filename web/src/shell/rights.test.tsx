// Who may only look sees everything that could be done, and why they may not.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { AlertSchema } from "../api/gen/quantix/alert/v1/alert_pb";
import { Severity } from "../api/gen/quantix/event/v1/event_pb";
import { FaultCode } from "../api/gen/quantix/fault/v1/fault_pb";
import { HostSchema } from "../api/gen/quantix/host/v1/host_pb";
import { ImageSchema } from "../api/gen/quantix/image/v1/image_pb";
import { PoolSchema } from "../api/gen/quantix/pool/v1/pool_pb";
import { TaskSchema, TaskState } from "../api/gen/quantix/task/v1/task_pb";
import { VmSchema } from "../api/gen/quantix/vm/v1/vm_pb";
import { VolumeSchema } from "../api/gen/quantix/volume/v1/volume_pb";
import { fakeUser } from "../testing/fake-people";
import { PERMISSIONS } from "../testing/fake-rights";
import { FakeVdc, refusal } from "../testing/fake-vdc";
import { renderApp, signIn } from "../testing/render";
import { expectAccessible } from "../testing/accessible";

const why = (permission: string, on = "everything") => `You need ${permission} on ${on}. Who manages people can give it.`;
/** What the vDC says of a thing to who may only look at it. */
const withheld = (verbs: string[], permission: string, on: string) => verbs.map((verb) => ({ verb, allowed: false, reasonIfNot: why(permission, on) }));

function viewer(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.rights.permissions = PERMISSIONS.map(([word]) => word).filter((word) => word.endsWith(".view") || word === "file.read");
  vdc.hosts = [create(HostSchema, { id: "h", name: "host-1", allowedActions: withheld(["remove"], "host.manage", "everything") })];
  vdc.pools = [create(PoolSchema, { id: "p", name: "main", allowedActions: withheld(["update", "assign", "unassign", "retry"], "pool.manage", "everything") })];
  vdc.images = [create(ImageSchema, { id: "i", name: "debian", allowedActions: withheld(["delete"], "image.manage", "its pool") })];
  const volumes = [create(VolumeSchema, { id: "d", name: "data", allowedActions: withheld(["grow", "clone", "attach", "delete", "snapshot"], "volume.manage", "its pool or its VM") })];
  vdc.volumes = volumes;
  const power = withheld(["start", "shut_down", "reboot", "pause", "resume", "force_stop", "reset"], "vm.power", "this VM");
  vdc.vms = [create(VmSchema, { id: "v", name: "web", allowedActions: [...power, ...withheld(["delete"], "vm.manage", "this VM"), ...withheld(["attach_volume"], "volume.manage", "this VM")] })];
  vdc.tasks = [create(TaskSchema, { id: "t", title: "Create VM web", state: TaskState.RUNNING, cancellable: true, userName: "eva" })];
  vdc.alerts = [create(AlertSchema, { id: "a", message: "Pool main is full.", severity: Severity.ERROR, raisedAt: timestampFromMs(Date.now()) })];
  vdc.people.users = [fakeUser("eva", { delete: why("people.manage"), disable: why("people.manage"), rename: why("people.manage") })];
  vdc.certificates = { ...vdc.certificates, allowedActions: [] };
  return vdc;
}

/** Where, which button, and what is said of it. */
const TABLE: [string, string, string][] = [
  ["/hosts", "Add host", why("host.manage")],
  ["/hosts/h", "Remove host", why("host.manage")],
  ["/pools", "Create pool", why("pool.manage")],
  ["/pools/p", "Edit", why("pool.manage")],
  ["/pools/p", "Delete pool", why("pool.manage")],
  ["/pools/p?tab=hosts", "Assign to a host", why("pool.manage")],
  ["/images", "Upload image", why("image.manage", "a pool")],
  ["/images", "Delete", why("image.manage", "its pool")],
  ["/volumes", "Create volume", why("volume.manage", "a pool")],
  ["/volumes", "Delete", why("volume.manage", "its pool or its VM")],
  ["/volumes/d", "Grow", why("volume.manage", "its pool or its VM")],
  ["/volumes/d?tab=snapshots", "Take snapshot", why("volume.manage", "its pool or its VM")],
  ["/vms", "Create VM", why("vm.manage")],
  ["/vms/v", "Start", why("vm.power", "this VM")],
  ["/vms/v", "Force stop", why("vm.power", "this VM")],
  ["/vms/v", "Delete", why("vm.manage", "this VM")],
  ["/vms/v?tab=disks", "Attach volume", why("volume.manage", "this VM")],
  ["/tasks", "Cancel task Create VM web", why("task.cancel")],
  ["/alerts", "Acknowledge: Pool main is full.", why("alert.acknowledge")],
  ["/users", "Create user", why("people.manage")],
  ["/roles", "Create role", why("people.manage")],
  ["/roles?tab=grants", "Give a role", why("people.manage")],
  ["/certificates", "Upload certificate", why("certificate.manage")],
];

it.each(TABLE)("on %s says why not: %s", async (path, name, reason) => {
  const { user } = renderApp(viewer(), path);
  const button = await within(await screen.findByRole("main")).findByRole("button", { name });
  expect(button.getAttribute("aria-disabled")).toBe("true");
  await user.hover(button);
  expect((await screen.findByRole("tooltip")).textContent).toBe(reason);
  await user.click(button);
  expect(screen.queryByRole("dialog")).toBeNull();
});

it("says in the menu of a row why not", async () => {
  const { user, container } = renderApp(viewer(), "/users");
  await user.click(await screen.findByRole("button", { name: "Actions of eva" }));
  const item = await screen.findByRole("menuitem", { name: /^Delete/ });
  expect(item.getAttribute("aria-disabled")).toBe("true");
  expect(item.textContent).toContain(why("people.manage"));
  await expectAccessible(container);
});

it("opens no dialog from an address for who may not", async () => {
  renderApp(viewer(), "/pools?new=true");
  await screen.findByRole("link", { name: "main" });
  expect(screen.queryByRole("dialog")).toBeNull();
});

it("lets who may all", async () => {
  const vdc = viewer();
  vdc.rights.permissions = PERMISSIONS.map(([word]) => word);
  const { user } = renderApp(vdc, "/pools");
  await user.click(await screen.findByRole("button", { name: "Create pool" }));
  expect(await screen.findByRole("dialog", { name: "Create pool" })).toBeTruthy();
});

it("lets everybody stop their own work", async () => {
  const vdc = viewer();
  vdc.tasks = vdc.tasks.map((t) => ({ ...t, userName: "admin" }));
  renderApp(vdc, "/tasks");
  const cancel = await within(await screen.findByRole("main")).findByRole("button", { name: "Cancel task Create VM web" });
  expect(cancel.getAttribute("aria-disabled")).not.toBe("true");
});

it("lets who has one pool make a volume in it", async () => {
  const vdc = viewer();
  vdc.rights.permissionsSomewhere = ["volume.manage"];
  renderApp(vdc, "/volumes");
  expect((await screen.findByRole("button", { name: "Create volume" })).getAttribute("aria-disabled")).not.toBe("true");
});

const REFUSED = refusal(Code.PermissionDenied, {
  code: FaultCode.FORBIDDEN,
  message: "You may not see hosts, their disks and their logs here.",
  cause: "it needs the permission host.view",
  remedy: "Ask an administrator for a role that allows it.",
});

it.each(["/hosts", "/hosts/h"])("says on %s what is missing and who can give it, instead of an error", async (path) => {
  const vdc = viewer();
  vdc.refuseHosts = REFUSED;
  const { container } = renderApp(vdc, path);
  const said = await screen.findByRole("heading", { name: "You may not see hosts, their disks and their logs here." });
  expect(said.parentElement?.textContent).toContain("The permission host.view is missing. Who manages people can give you a role that has it");
  expect(screen.queryByRole("alert")).toBeNull();
  await waitFor(() => expect(screen.queryByRole("button", { name: "Try again" })).toBeNull());
  await expectAccessible(container);
});
