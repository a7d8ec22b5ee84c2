// Tasks as rows: used by the tasks page, the drawer and the pages of the objects they work on.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Task } from "../../api/gen/quantix/task/v1/task_pb";
import { ORDERS, type List } from "../../api/lists";
import { faultOf } from "../../api/fault";
import { Empty } from "../../ui/parts";
import { Status } from "../../ui/status";
import { DataTable, type Column, type Sort } from "../../ui/table";
import { Age } from "../../ui/time";
import { CancelTask } from "./cancel-task";
import { TaskFault, TaskObject, TaskProgress, taskStatus } from "./task-view";

const ms = (t: Task["createdAt"]) => (t ? timestampMs(t) : undefined);

const TITLE: Column<Task> = {
  id: "title",
  header: "Task",
  cell: (t) => (
    <>
      {t.title}
      {t.fault && (
        <div>
          <TaskFault task={t} />
        </div>
      )}
    </>
  ),
};
const COLUMNS: Column<Task>[] = [
  { id: "state", header: "State", cell: (t) => <Status {...taskStatus(t)} />, width: "110px" },
  TITLE,
  { id: "object", header: "Object", cell: (t) => <TaskObject task={t} /> },
  { id: "host", header: "Host", cell: (t) => <span className="q-nowrap">{t.host}</span> },
  { id: "user", header: "By", cell: (t) => t.userName },
  { id: "progress", header: "Progress", cell: (t) => <TaskProgress task={t} />, width: "300px" },
  { id: "created", header: "Started", sort: (t) => ms(t.createdAt) ?? 0, cell: (t) => <Age at={ms(t.startedAt ?? t.createdAt)} /> },
  { id: "cancel", header: "Actions", isHeaderHidden: true, cell: (t) => <CancelTask task={t} /> },
];

interface TaskTableProps {
  label: string;
  list: List<Task, unknown>;
  rows?: Task[];
  narrow?: boolean;
  /** Filter and order of a page that has them. */
  page?: { filter: string; sort?: Sort; setSort: (sort: Sort) => void };
}

/** Newest first is how the vDC lists tasks when nothing else is asked. */
const USUAL: Sort = { id: "created", descending: true };

export function TaskTable({ label, list, rows, narrow = false, page }: TaskTableProps) {
  return (
    <DataTable
      label={label}
      rows={rows ?? list.rows}
      columns={narrow ? COLUMNS.filter((c) => c.id !== "object" && c.id !== "host") : COLUMNS}
      rowId={(t) => t.id}
      rowName={(t) => t.title}
      total={list.total}
      hasMore={list.hasMore}
      onMore={list.more}
      sort={page?.sort ?? USUAL}
      onSort={page?.setSort}
      orders={ORDERS.tasks}
      fault={list.error ? faultOf(list.error) : undefined}
      onRetry={list.again}
      empty={
        page?.filter ? (
          <Empty title={`No task has "${page.filter}" in its title`} />
        ) : (
          <Empty title="No task yet">Whatever takes time, such as creating a VM, is listed here with its progress.</Empty>
        )
      }
    />
  );
}
