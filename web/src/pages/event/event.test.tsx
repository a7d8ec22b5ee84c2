// Events and alerts through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { expect, it } from "vitest";
import { AlertSchema } from "../../api/gen/quantix/alert/v1/alert_pb";
import { EventSchema, Severity } from "../../api/gen/quantix/event/v1/event_pb";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";

const at = timestampFromMs(Date.now());
const event = (id: string, message: string, severity: Severity, cause = "") =>
  create(EventSchema, { id, at, message, severity, objectKind: "vm", objectId: `id-${id}`, objectName: id, fault: cause ? { code: FaultCode.VM_MISSING_ON_HOST, message, cause, remedy: "Look there." } : undefined });

it("shows what happened, filters by words and severity, and says why", async () => {
  const vdc = signIn(new FakeVdc());
  vdc.events = [event("a", "VM a runs.", Severity.INFO), event("b", "VM b is lost.", Severity.ERROR, "no domain")];
  const { user, history } = renderApp(vdc, "/events");
  expect(await screen.findByText("VM a runs.")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: "Why: VM b is lost." }));
  expect(screen.getByRole("alert", { name: "Error VM_MISSING_ON_HOST" }).textContent).toContain("no domain");
  await user.selectOptions(screen.getByRole("combobox", { name: "Severity" }), "error");
  await waitFor(() => expect(screen.queryByText("VM a runs.")).toBeNull());
  expect(history.location.href).toBe("/events?severity=error");
  await user.type(screen.getByRole("textbox", { name: "Filter events by words" }), "nothing such");
  expect(await screen.findByText("No such event")).toBeTruthy();
});

it("counts the alerts nobody looks after, until somebody does", async () => {
  const vdc = signIn(new FakeVdc());
  const message = "Pool main is 90 % full.";
  vdc.alerts = [create(AlertSchema, { id: "x", rule: "pool.full", severity: Severity.WARNING, message, objectKind: "pool", objectId: "p", objectName: "main", raisedAt: at })];
  const { user } = renderApp(vdc, "/alerts");
  const nav = await screen.findByRole("navigation", { name: "Main" });
  expect(await within(nav).findByText("1")).toBeTruthy();
  await user.click(await screen.findByRole("button", { name: `Acknowledge: ${message}` }));
  expect(await screen.findByRole("button", { name: `Take back: ${message}` })).toBeTruthy();
  await waitFor(() => expect(within(nav).queryByText("1")).toBeNull());
});

it("reads alerts page by page, the most urgent first, and keeps the choice in the address", async () => {
  const vdc = signIn(new FakeVdc());
  vdc.alerts = Array.from({ length: 130 }, (_, i) =>
    create(AlertSchema, { id: `a${i}`, severity: i === 129 ? Severity.ERROR : Severity.WARNING, message: `Pool p${i} is full.`, raisedAt: at, acknowledgedAt: i < 10 ? at : undefined }),
  );
  const { user, history } = renderApp(vdc, "/alerts");
  expect(await screen.findByText("100 of 130 rows")).toBeTruthy();
  expect(within(screen.getByRole("table", { name: "Alerts" })).getAllByRole("row")[1]?.textContent).toContain("Pool p129 is full.");
  await user.click(screen.getByRole("button", { name: "Load more" }));
  await waitFor(() => expect(screen.queryByText("100 of 130 rows")).toBeNull());
  await user.click(screen.getByRole("checkbox", { name: "Only what nobody looks after" }));
  expect(await screen.findByText("100 of 120 rows")).toBeTruthy();
  await user.selectOptions(screen.getByRole("combobox", { name: "Severity" }), "error");
  expect(await screen.findByText("1 row")).toBeTruthy();
  expect(history.location.search).toBe("?open=true&severity=error");
});
