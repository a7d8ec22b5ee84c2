// What happened, newest first; and what somebody should look at now.
import { useCallback } from "react";
import { usePageState } from "../../shell/page-state";
import { PageTitle } from "../../ui/parts";
import { EventTable } from "./event-table";

export function EventsPage() {
  const page = usePageState();
  const { setSearch } = page;
  const change = useCallback(
    (chosen: { filter: string; severity: string }) => setSearch({ q: chosen.filter || undefined, severity: chosen.severity || undefined }),
    [setSearch],
  );
  return (
    <>
      <PageTitle title="Events" />
      <EventTable filter={page.filter} severity={page.severity} onChange={change} />
    </>
  );
}
