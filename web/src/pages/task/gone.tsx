// Instead of an object's page: it loads, it cannot be read, or it is gone, and what its last task says of that.
import { Link } from "@tanstack/react-router";
import { codeOf, faultOf, viewOf } from "../../api/fault";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { TaskState } from "../../api/gen/quantix/task/v1/task_pb";
import { useTasks } from "../../api/lists";
import { FaultPanel } from "../../ui/fault";
import { Refused } from "../../ui/forbidden";
import { Empty, Loading } from "../../ui/parts";

interface Query<T> {
  data: T | undefined;
  error: unknown;
  refetch: () => unknown;
}

/** The object, unless the vDC said meanwhile that there is none. */
export function present<T>(query: Query<T>): T | undefined {
  return codeOf(query.error) === FaultCode.NOT_FOUND ? undefined : query.data;
}

export function Absent({ noun, id, query, to }: { noun: string; id: string; query: Query<{ name: string }>; to: "/hosts" | "/pools" | "/vms" | "/volumes" }) {
  if (!query.error) return <Loading label={noun} />;
  if (codeOf(query.error) !== FaultCode.NOT_FOUND) return <Refused fault={faultOf(query.error)} onRetry={() => void query.refetch()} />;
  return <Gone noun={noun} id={id} name={query.data?.name} to={to} />;
}

function Gone({ noun, id, name, to }: { noun: string; id: string; name: string | undefined; to: "/hosts" | "/pools" | "/vms" | "/volumes" }) {
  const last = useTasks({ objectId: id }).rows?.[0];
  const failed = last?.state === TaskState.FAILED && last.fault ? last : undefined;
  return (
    <div className="q-stack">
      {failed?.fault && <FaultPanel fault={viewOf(failed.fault)} />}
      <Empty title={name ? `There is no ${noun} "${name}" any more` : `There is no such ${noun}`} action={<Link to={to}>Show all {noun}s</Link>}>
        {failed ? `"${failed.title}" failed, and what it had made was taken back.` : "It was deleted, or the address is wrong."}
      </Empty>
    </div>
  );
}
