// Cancel of a task, and what it means.
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { TaskService, type Task } from "../../api/gen/quantix/task/v1/task_pb";
import { Confirm } from "../../ui/dialog";
import { useRun } from "../../ui/run";
import { isOpen } from "./task-view";

export function CancelTask({ task }: { task: Task }) {
  const client = useClient(TaskService);
  const [asking, setAsking] = useState(false);
  const { busy, fault, run } = useRun(() => setAsking(false));
  if (!isOpen(task) || !task.cancellable) return null;
  return (
    <>
      <Button variant="link" size="sm" isInline onClick={() => setAsking(true)} aria-label={`Cancel task ${task.title}`}>
        Cancel
      </Button>
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
