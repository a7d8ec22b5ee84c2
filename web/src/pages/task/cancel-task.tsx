// Cancel of a task, and what it means.
import { useState } from "react";
import { useClient } from "../../api/context";
import { TaskService, type Task } from "../../api/gen/quantix/task/v1/task_pb";
import { useRight, useSession } from "../../api/session";
import { Confirm } from "../../ui/dialog";
import { ActionButton } from "../../ui/parts";
import { useRun } from "../../ui/run";
import { isOpen } from "./task-view";

export function CancelTask({ task }: { task: Task }) {
  const client = useClient(TaskService);
  const [asking, setAsking] = useState(false);
  const { busy, fault, run } = useRun(() => setAsking(false));
  const others = useRight()("task.cancel");
  // One's own work one may always stop.
  const cancel = useSession().data?.userName === task.userName ? { ...others, allowed: true } : others;
  if (!isOpen(task) || !task.cancellable) return null;
  return (
    <>
      <ActionButton variant="link" action={cancel} onClick={() => setAsking(true)} aria-label={`Cancel task ${task.title}`}>
        Cancel
      </ActionButton>
      {asking && (
        <Confirm
          title={`Cancel "${task.title}"?`}
          verb="Cancel task"
          closeLabel="Let it go on"
          busy={busy}
          fault={fault}
          onConfirm={() => run(() => client.cancelTask({ id: task.id }))}
          onClose={() => setAsking(false)}
        >
          <p>It stops at its next safe step, which may take a moment, and what it made so far is taken back. It cannot be taken up again: start it anew instead.</p>
        </Confirm>
      )}
    </>
  );
}
