// Tasks: their pace as told, and what cancelling means.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { screen, waitFor, within } from "@testing-library/react";
import { beforeEach, expect, it } from "vitest";
import { TaskSchema, TaskState } from "../../api/gen/quantix/task/v1/task_pb";
import { FakeVdc } from "../../testing/fake-vdc";
import { renderApp, signIn } from "../../testing/render";
import { forgetPaces, paceOf } from "./pace";
import { progressText } from "./task-view";
// Fetched here, not while a test waits.
import "./tasks-page";

const MIB = 1024n ** 2n;
const task = (doneMib: bigint) =>
  create(TaskSchema, { id: "t", title: "Upload a", state: TaskState.RUNNING, step: "Uploading", cancellable: true, progressDone: doneMib * MIB, progressTotal: 100n * MIB, progressUnit: "bytes", startedAt: timestampFromMs(0) });

beforeEach(forgetPaces);

it("tells rate and time left from what was seen lately, and that nothing moves", () => {
  expect(progressText(task(10n), 60_000)).toBe("10 MiB of 100 MiB");
  expect(progressText(task(20n), 62_000)).toBe("20 MiB of 100 MiB · 5 MiB/s · 16 s left");
  expect(progressText(task(20n), 92_000)).toBe("20 MiB of 100 MiB · no progress for 30 s");
  expect(progressText(task(30n), 94_000)).toContain("30 MiB of 100 MiB · ");
  expect(progressText(task(5n), 95_000)).toBe("5 MiB of 100 MiB");
});

it("forgets what it saw long ago, and never grows without end", () => {
  for (let s = 0; s <= 100; s += 1) paceOf("a", s < 50 ? s : 50 + (s - 50) * 3, s * 1000);
  expect(paceOf("a", 200, 100_000).perSecond).toBeCloseTo(3, 0);
  for (let n = 0; n < 300; n += 1) paceOf(`b${n}`, 1, 100_000);
  expect(paceOf("a", 200, 101_000).perSecond).toBeUndefined();
});

it("says what cancelling means before it does", async () => {
  const vdc = signIn(new FakeVdc());
  vdc.tasks = [task(10n)];
  const { user } = renderApp(vdc, "/tasks");
  await user.click(await screen.findByRole("button", { name: "Cancel task Upload a" }, { timeout: 8_000 }));
  const dialog = await screen.findByRole("dialog");
  expect(dialog.textContent).toContain("what it made so far is taken back");
  await user.click(within(dialog).getByRole("button", { name: "Let it go on" }));
  expect(vdc.cancelled).toEqual([]);
  await user.click(screen.getByRole("button", { name: "Cancel task Upload a" }));
  await user.click(within(await screen.findByRole("dialog")).getByRole("button", { name: "Cancel task" }));
  await waitFor(() => expect(vdc.cancelled).toEqual(["t"]));
});
