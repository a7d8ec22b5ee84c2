// The dashboard on a fake vDC: counts by phase, alerts, events, and no calm that is not known.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { AlertSchema } from "../../api/gen/quantix/alert/v1/alert_pb";
import { EventSchema, Severity } from "../../api/gen/quantix/event/v1/event_pb";
import { HostPhase, HostSchema } from "../../api/gen/quantix/host/v1/host_pb";
import { PowerState, VmSchema } from "../../api/gen/quantix/vm/v1/vm_pb";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
// Fetched here, not while a test waits.
import "./dashboard-page";

const SOON = { timeout: 8_000 };
const ago = (seconds: number) => timestampFromMs(Date.now() - seconds * 1000);

it("counts hosts and VMs by state, with the age of the oldest report, and shows alerts and events", async () => {
  const vdc = signIn(new FakeVdc());
  const host = (n: number, phase: HostPhase) => create(HostSchema, { id: `h${n}`, name: `host-${n}`, phase, observedAt: ago(80) });
  vdc.hosts = [host(1, HostPhase.READY), host(2, HostPhase.READY), host(3, HostPhase.DISCONNECTED)];
  vdc.vms = [create(VmSchema, { id: "v", name: "web-1", powerState: PowerState.RUNNING }), create(VmSchema, { id: "w", name: "web-2" })];
  vdc.alerts = [create(AlertSchema, { id: "a", severity: Severity.ERROR, message: "Host host-3 is silent.", objectKind: "host", objectId: "h3", objectName: "host-3", raisedAt: ago(60) })];
  vdc.events = [create(EventSchema, { id: "e", at: ago(5), severity: Severity.INFO, message: "VM web-1 runs.", objectKind: "vm", objectId: "v", objectName: "web-1" })];
  renderApp(vdc, "/");
  const stand = await screen.findByRole("region", { name: "How all stand" }, SOON);
  expect(stand.textContent).toContain("oldest report 1 min ago");
  const rows = (label: string) => within(within(stand).getByRole("list", { name: label })).getAllByRole("listitem").map((r) => r.textContent);
  expect(rows("Hosts by state")).toEqual(["Ready2", "Silent1"]);
  expect(rows("VMs by state")).toEqual(["Running1", "Unknown1"]);
  const alerts = screen.getByRole("region", { name: "Alerts" });
  expect((await within(alerts).findByText("Host host-3 is silent.", {}, SOON)).closest("li")?.textContent).toContain("1 min ago");
  expect(await within(screen.getByRole("region", { name: "Recent events" })).findByText("VM web-1 runs.", {}, SOON)).toBeTruthy();
});
