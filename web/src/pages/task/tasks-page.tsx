// All work, newest first.
import { useTasks } from "../../api/lists";
import { PageTitle } from "../../ui/parts";
import { TaskTable } from "./task-table";

export function TasksPage() {
  const tasks = useTasks();
  return (
    <>
      <PageTitle title="Tasks" />
      <TaskTable label="Tasks" list={tasks} />
    </>
  );
}
