// The audit log through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { AuditRowSchema, type AuditRow } from "../../api/gen/quantix/audit/v1/audit_pb";
import { VmSchema } from "../../api/gen/quantix/vm/v1/vm_pb";
import { expectAccessible } from "../../testing/accessible";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import { formatExact } from "../../ui/time";
import { actionText, dayOf } from "./words";

type Row = Partial<Omit<AuditRow, "$typeName" | "$unknown">>;
const row = (number: number, init: Row) =>
  create(AuditRowSchema, { number: BigInt(number), at: timestampFromMs(Date.now() - 5 * 60_000), actorKind: "person", actorId: "user-anna", actorName: "anna", address: "192.0.2.7", result: "OK", ...init });

function rig(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.rights.audit = [
    row(4, { action: "vm.v1.VmService/PowerVm", objectKind: "vm", objectId: "id-web-1", objectName: "web-1" }),
    row(3, { action: "vm.v1.VmService/DeleteVm", objectKind: "vm", objectId: "id-db-1", objectName: "db-1", result: "FORBIDDEN", detail: "You may not create, change, adopt and delete VMs here." }),
    row(2, { action: "session.v1.SessionService/Login", actorKind: "nobody", actorId: "", actorName: "root", result: "WRONG_CREDENTIALS", detail: "The user name or the password is wrong." }),
    row(1, { action: "role.v1.RoleService/Grant", actorId: "user-ben", actorName: "ben", at: timestampFromMs(new Date(2026, 0, 5, 12).getTime()) }),
  ];
  return vdc;
}

const rows = async () => within(await screen.findByRole("table", { name: "Audit log" })).getAllByRole("row").slice(1);

it("says in plain words who did what on what, from where, and what came of it", async () => {
  const { container } = renderApp(rig(), "/audit");
  const [power, refused, login, grant] = await rows();
  expect(within(power!).getByText("Power VM").getAttribute("title")).toBe("vm.v1.VmService/PowerVm");
  expect(within(power!).getByRole("link", { name: "web-1" }).getAttribute("href")).toBe("/vms/id-web-1");
  expect(power!.textContent).toContain("person, 192.0.2.7");
  expect(within(power!).getByText("OK")).toBeTruthy();
  expect(within(refused!).getByText("FORBIDDEN")).toBeTruthy();
  expect(refused!.textContent).toContain("You may not create");
  expect(within(login!).getByText("Sign in")).toBeTruthy();
  expect(login!.textContent).toContain("not signed in");
  expect(within(grant!).getByText("Give role")).toBeTruthy();
  const when = grant!.querySelector("time")!;
  expect(when.title).toBe(formatExact(new Date(2026, 0, 5, 12).getTime()));
  expect(screen.getByText("Rows are kept for 400 days.")).toBeTruthy();
  const download = screen.getByRole("link", { name: "Download" });
  expect(download.getAttribute("href")).toBe("/api/v1/audit");
  await expectAccessible(container);
});

it("keeps words, days and failed only in the address, and asks the vDC for them", async () => {
  const vdc = rig();
  const { user, history } = renderApp(vdc, "/audit?from=2026-01-05&to=2026-01-05");
  expect(await rows()).toHaveLength(1);
  const asked = vdc.rights.askedAudit.at(-1)!;
  expect(timestampMs(asked.from!)).toBe(new Date(2026, 0, 5).getTime());
  // The last day counts whole.
  expect(timestampMs(asked.to!)).toBe(new Date(2026, 0, 6).getTime());
  await user.clear(screen.getByLabelText("From day"));
  await user.clear(screen.getByLabelText("To day"));
  await waitFor(async () => expect(await rows()).toHaveLength(4));
  await user.click(screen.getByRole("checkbox", { name: "Failed only" }));
  await waitFor(async () => expect(await rows()).toHaveLength(2));
  await user.type(screen.getByRole("textbox", { name: "Filter by name, address, action or result" }), "password");
  await waitFor(async () => expect(await rows()).toHaveLength(1));
  expect(history.location.href).toBe("/audit?failed=true&q=password");
  await user.type(screen.getByRole("textbox", { name: "Filter by name, address, action or result" }), "zz");
  expect(await screen.findByText("No such row")).toBeTruthy();
});

it("narrows to one object or one person, and widens again", async () => {
  const { user, history } = renderApp(rig(), "/audit?object=id-web-1");
  expect(await rows()).toHaveLength(1);
  expect(screen.getByText(/Only what was done/).textContent).toContain("on web-1");
  await user.click(screen.getByRole("button", { name: "Show all" }));
  await waitFor(async () => expect(await rows()).toHaveLength(4));
  await user.click(screen.getByRole("link", { name: "ben" }));
  await waitFor(async () => expect(await rows()).toHaveLength(1));
  expect(history.location.href).toBe("/audit?actor=user-ben");
  expect(screen.getByText(/Only what was done/).textContent).toContain("by ben");
});

it("is reached from an object's page", async () => {
  const vdc = rig();
  vdc.vms = [create(VmSchema, { id: "id-web-1", name: "web-1" })];
  renderApp(vdc, "/vms/id-web-1?tab=events");
  expect((await screen.findByRole("link", { name: "Who did what here" })).getAttribute("href")).toBe("/audit?object=id-web-1");
});

it("reads on where the first page ends", async () => {
  const vdc = rig();
  vdc.rights.audit = Array.from({ length: 130 }, (_, n) => row(130 - n, { action: "vm.v1.VmService/PowerVm" }));
  const { user } = renderApp(vdc, "/audit");
  expect(await screen.findByText("100 of 130 rows")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Load more" }));
  expect(await screen.findByText("130 rows")).toBeTruthy();
});

it("checks the log, and says from where to where it fits", async () => {
  const vdc = rig();
  vdc.rights.verdict = { rows: 12345n, first: 101n, last: 12445n };
  const { user } = renderApp(vdc, "/audit");
  await rows();
  await user.click(screen.getByRole("button", { name: "Check the log" }));
  expect(await screen.findByText("All 12,345 rows fit, from row 101 to row 12,445.")).toBeTruthy();
});

it("says which row does not fit, and what to do then", async () => {
  const vdc = rig();
  vdc.rights.verdict = { rows: 4711n, first: 1n, last: 9000n, brokenAt: 4711n, broken: "its MAC is not that of its text" };
  const { user } = renderApp(vdc, "/audit");
  await rows();
  await user.click(screen.getByRole("button", { name: "Check the log" }));
  const text = (await screen.findByRole("alert", { name: "Error AUDIT_LOG_BROKEN" })).textContent;
  for (const part of ["row 4,711", "its MAC is not that of its text", "backup", "who had access"]) expect(text).toContain(part);
});

it("says what will stand there while nothing does, and which right is missing", async () => {
  const vdc = signIn(new FakeVdc());
  const { unmount, container } = renderApp(vdc, "/audit");
  expect(await screen.findByText("No row yet")).toBeTruthy();
  await expectAccessible(container);
  unmount();
  vdc.rights.permissions = ["vm.view"];
  renderApp(vdc, "/audit");
  expect((await screen.findByText("audit.view")).parentElement?.textContent).toContain("is missing. Who manages people can give you a role");
});

it("spells calls as people say them, and leaves alone what is none", () => {
  expect(["token.v1.ApiTokenService/CreateApiToken", "vm.v1.VmService/ListVms", "pool.v1.PoolService/ListCephPools", "GET /api/v1/audit", "x"].map(actionText)).toEqual([
    "Create API token",
    "List VMs",
    "List ceph pools",
    "GET /api/v1/audit",
    "x",
  ]);
});

it("takes only days that there are", () => {
  expect(dayOf("2026-02-28")).toBeTruthy();
  expect([dayOf("2026-02-30"), dayOf("yesterday"), dayOf(""), dayOf(undefined)]).toEqual([undefined, undefined, undefined, undefined]);
});
