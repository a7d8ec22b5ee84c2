// All work, newest first unless asked otherwise.
import { useTasks } from "../../api/lists";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { PageTitle } from "../../ui/parts";
import { TaskTable } from "./task-table";

export function TasksPage() {
  const page = usePageState();
  const tasks = useTasks(page);
  return (
    <>
      <PageTitle title="Tasks" />
      {(page.filter !== "" || (tasks.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter tasks by title" value={page.filter} onChange={page.setFilter} />
        </div>
      )}
      <TaskTable label="Tasks" list={tasks} page={page} />
    </>
  );
}
