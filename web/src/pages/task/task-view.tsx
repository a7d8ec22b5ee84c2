// One task in words: state, step, progress, rate and time left.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { viewOf } from "../../api/fault";
import { TaskState, type Task } from "../../api/gen/quantix/task/v1/task_pb";
import { FaultPanel } from "../../ui/fault";
import { Progress } from "../../ui/parts";
import { formatBytes, formatRate } from "../../ui/quantity";
import type { StatusView } from "../../ui/status";
import { formatDuration, useNow } from "../../ui/time";
import { ObjectLink } from "../event/object-link";
import { paceOf } from "./pace";

/** Something that moves is told of more often than this. */
const STILL_MS = 15_000;

export function isOpen(task: Task): boolean {
  return task.state === TaskState.QUEUED || task.state === TaskState.RUNNING;
}

export function taskStatus(task: Task): StatusView {
  switch (task.state) {
    case TaskState.QUEUED:
      return { tone: "unknown", label: "Queued" };
    case TaskState.RUNNING:
      return { tone: "work", label: "Running" };
    case TaskState.DONE:
      return { tone: "ok", label: "Done" };
    case TaskState.FAILED:
      return { tone: "error", label: "Failed" };
    case TaskState.CANCELLED:
      return { tone: "off", label: "Cancelled" };
    default:
      return { tone: "unknown", label: "Unknown" };
  }
}

/** What is known of how far a task is; the rate is what this page saw lately. */
export function progressText(task: Task, now: number): string {
  const done = Number(task.progressDone);
  const total = Number(task.progressTotal);
  if (total === 0) return task.step;
  if (task.progressUnit !== "bytes") return `${task.step} · step ${done} of ${total}`;
  const amount = `${formatBytes(done)} of ${formatBytes(total)}`;
  const { perSecond, stillMs } = paceOf(task.id, done, now);
  if (done >= total) return amount;
  if (stillMs >= STILL_MS) return `${amount} · no progress for ${formatDuration(stillMs)}`;
  if (!perSecond) return amount;
  return `${amount} · ${formatRate(perSecond)} · ${formatDuration(((total - done) / perSecond) * 1000)} left`;
}

export function TaskProgress({ task }: { task: Task }) {
  const now = useNow();
  if (!isOpen(task)) {
    const { startedAt, endedAt } = task;
    if (!startedAt || !endedAt) return null;
    const ms = timestampMs(endedAt) - timestampMs(startedAt);
    return <span className="q-muted">{ms < 1000 ? "under 1 s" : `took ${formatDuration(ms)}`}</span>;
  }
  return (
    <Progress
      label={`Progress of ${task.title}`}
      done={Number(task.progressDone)}
      total={Number(task.progressTotal)}
      text={progressText(task, now)}
    />
  );
}

export function TaskObject({ task }: { task: Task }) {
  return <ObjectLink kind={task.objectKind} id={task.objectId} name={task.objectName} />;
}

export function TaskFault({ task }: { task: Task }) {
  const [open, setOpen] = useState(false);
  if (!task.fault) return null;
  if (open) return <FaultPanel fault={viewOf(task.fault)} onClose={() => setOpen(false)} />;
  return (
    <span className="q-table__sub">
      {task.fault.message}{" "}
      <Button variant="link" isInline size="sm" onClick={() => setOpen(true)} aria-label={`Details of the failure of ${task.title}`}>
        Details
      </Button>
    </span>
  );
}
