// The log of a host through the whole app on a fake vDC.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { screen, waitFor } from "@testing-library/react";
import { expect, it, vi } from "vitest";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { HostPhase, HostSchema } from "../../api/gen/quantix/host/v1/host_pb";
import { ListLogsResponseSchema, LogLevel, LogRecordSchema } from "../../api/gen/quantix/log/v1/log_pb";
import { FakeVdc, refusal } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import { logText } from "./host-logs";
// Fetched here, not while a test waits.
import "./host-page";
import { merged } from "./use-logs";

const at = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const record = (number: number, message: string, level = LogLevel.INFO) =>
  create(LogRecordSchema, { number: BigInt(number), at: timestampFromMs(at), level, target: "quantix_node::pool", message });

function vdcWithLog(): FakeVdc {
  const vdc = signIn(new FakeVdc());
  vdc.hosts = [create(HostSchema, { id: "h", name: "host-1", phase: HostPhase.READY })];
  vdc.logs = [record(3, "pool released"), record(2, "the pool is left as it is", LogLevel.WARN), record(1, "registered")];
  vdc.logsGone = 1204n;
  return vdc;
}

/** The live refresh comes within two seconds. */
const SOON = { timeout: 8_000 };

it("shows, filters, follows, pauses and copies what a host wrote down", async () => {
  const vdc = vdcWithLog();
  const { user } = renderApp(vdc, "/hosts/h?tab=logs");
  expect(await screen.findByText("pool released", {}, SOON)).toBeTruthy();
  expect(screen.getByText(/1,204 older records are gone/).textContent).toContain("less grave than info");
  expect(screen.getAllByRole("row")[1]?.textContent).toMatch(/05\.678 (GMT|UTC|[A-Z]+)/);

  await user.click(screen.getByRole("button", { name: "Copy 3 records" }));
  await screen.findByRole("button", { name: "Copied" }, SOON);
  expect(await navigator.clipboard.readText()).toBe(logText(vdc.logs));

  vdc.logs = [record(4, "it answers again"), ...vdc.logs];
  expect(await screen.findByText("it answers again", {}, SOON)).toBeTruthy();
  expect(vdc.askedLogs.at(-1)).toMatchObject({ after: 3n, epoch: "life-1" });

  await user.click(screen.getByRole("button", { name: "Pause" }));
  vdc.logs = [record(5, "nobody sees this yet"), ...vdc.logs];
  await user.selectOptions(screen.getByRole("combobox", { name: "Level" }), "Warnings and worse");
  await waitFor(() => expect(screen.queryByText("pool released")).toBeNull(), SOON);
  expect(screen.getByText("the pool is left as it is")).toBeTruthy();
  await user.type(screen.getByRole("textbox", { name: "Filter log by words" }), "nothing such");
  expect(await screen.findByText("No such record", {}, SOON)).toBeTruthy();
  const asked = vdc.askedLogs.length;
  await user.click(screen.getByRole("button", { name: "Look again" }));
  await waitFor(() => expect(vdc.askedLogs.length).toBe(asked + 1), SOON);
});

it("begins anew with another life of the daemon", async () => {
  const vdc = vdcWithLog();
  renderApp(vdc, "/hosts/h?tab=logs");
  await screen.findByText("pool released", {}, SOON);
  vdc.logEpoch = "life-2";
  vdc.logs = [record(1, "a new beginning")];
  expect(await screen.findByText("a new beginning", {}, SOON)).toBeTruthy();
  expect(screen.queryByText("pool released")).toBeNull();
});

it("says what keeps a silent host from being asked", async () => {
  const vdc = vdcWithLog();
  vi.spyOn(vdc, "askedLogs", "get").mockImplementation(() => {
    throw refusal(Code.Unavailable, { code: FaultCode.HOST_DISCONNECTED, message: "host-1 has been silent for 42 s: its state is unknown.", remedy: "Check it." });
  });
  renderApp(vdc, "/hosts/h?tab=logs");
  const alert = await screen.findByRole("alert", { name: "Error HOST_DISCONNECTED" }, SOON);
  expect(alert.textContent).toContain("silent for 42 s");
});

const answer = (numbers: number[], more: { epoch?: string; nextPageToken?: string } = {}) =>
  create(ListLogsResponseSchema, { records: numbers.map((n) => record(n, `${n}`)), epoch: "a", total: BigInt(numbers.length), ...more });
const shown = (log: ReturnType<typeof merged>) => [log.records.map((r) => Number(r.number)), log.older];

it("loses nothing between two looks", () => {
  const first = merged(undefined, answer([3, 2], { nextPageToken: "t" }));
  expect(shown(merged(first, answer([5, 4])))).toEqual([[5, 4, 3, 2], "t"]);
  expect(shown(merged(first, answer([9, 8], { nextPageToken: "u" })))).toEqual([[9, 8], "u"]);
  expect(shown(merged(first, answer([1], { epoch: "b" })))).toEqual([[1], ""]);
  const full = merged(undefined, answer(Array.from({ length: 5000 }, (_, i) => 5000 - i), {}));
  const last = merged({ ...full, older: "t" }, answer([5001]));
  expect([last.records.length, last.records.at(-1)?.number, last.older]).toEqual([5000, 2n, ""]);
});
