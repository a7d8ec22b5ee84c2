// The line at the bottom: what runs now, what ended last; opens into a drawer.
import { Link } from "@tanstack/react-router";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { lazy, Suspense, useState } from "react";
import { useTasks } from "../api/lists";
import { Loading, Progress } from "../ui/parts";
import { StatusIcon } from "../ui/status";
import { Age, useNow } from "../ui/time";
import { isOpen, progressText, taskStatus } from "../pages/task/task-view";

const TaskTable = lazy(() => import("../pages/task/task-table").then((m) => ({ default: m.TaskTable })));
const DRAWER_ROWS = 12;

export function TasksBar() {
  const [open, setOpen] = useState(false);
  const tasks = useTasks();
  const now = useNow();
  const running = (tasks.rows ?? []).filter(isOpen);
  const last = (tasks.rows ?? []).find((t) => !isOpen(t));
  const shown = running[0] ?? last;
  return (
    <section className={open ? "q-tasks q-tasks--open" : "q-tasks"} aria-label="Tasks">
      <button type="button" className="q-tasks__line" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span className="q-tasks__word">Tasks</span>
        {shown ? (
          <>
            <StatusIcon tone={taskStatus(shown).tone} />
            <span className="q-tasks__text">
              {shown.title}
              <span className="q-muted">
                {" · "}
                {running[0] ? progressText(running[0], now) || "running" : taskStatus(shown).label.toLowerCase()}
              </span>
            </span>
            {running[0] ? (
              <Progress label={`Progress of ${running[0].title}`} done={Number(running[0].progressDone)} total={Number(running[0].progressTotal)} />
            ) : (
              <span className="q-muted">
                <Age at={shown.endedAt ? timestampMs(shown.endedAt) : undefined} />
              </span>
            )}
            {running.length > 1 && <span className="q-muted">and {running.length - 1} more</span>}
          </>
        ) : (
          <span className="q-muted">{tasks.rows ? "Nothing running" : ""}</span>
        )}
        <span className="q-tasks__toggle" aria-hidden="true">
          {open ? "Close" : "Open"}
        </span>
      </button>
      {open && (
        <div className="q-tasks__drawer">
          <Suspense fallback={<Loading label="tasks" />}>
            <TaskTable label="Running and recent tasks" list={{ ...tasks, hasMore: false }} rows={sortOpenFirst(tasks.rows)} />
          </Suspense>
          <Link to="/tasks">All tasks</Link>
        </div>
      )}
    </section>
  );
}

function sortOpenFirst<T extends Parameters<typeof isOpen>[0]>(tasks: T[] | undefined): T[] | undefined {
  if (!tasks) return undefined;
  return [...tasks.filter(isOpen), ...tasks.filter((t) => !isOpen(t))].slice(0, DRAWER_ROWS);
}
