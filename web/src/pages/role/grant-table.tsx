// Who may do what, on what: the grants, as they were given.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { faultOf } from "../../api/fault";
import type { GrantView } from "../../api/gen/quantix/role/v1/role_pb";
import { useMay, useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, Empty } from "../../ui/parts";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { scopeText, ScopeView } from "./scope-field";
import { useGrants } from "./words";

const GiveRole = lazy(() => import("./grant-dialogs").then((m) => ({ default: m.GiveRole })));
const TakeAway = lazy(() => import("./grant-dialogs").then((m) => ({ default: m.TakeAway })));

const keyOf = (g: GrantView) => [g.userId, g.role, g.scope?.kind, g.scope?.id].join(" ");

/** Grants with these words in the person's, the role's or the object's name. */
export function grantsWith(grants: readonly GrantView[] | undefined, filter: string): GrantView[] | undefined {
  const wanted = filter.toLowerCase();
  return grants?.filter((g) => [g.userName, g.roleName, scopeText(g.scope)].some((text) => text.toLowerCase().includes(wanted)));
}

export function GrantTable() {
  const page = usePageState();
  const may = useMay();
  const manage = useRight()("people.manage");
  const query = useGrants();
  const [leaving, setLeaving] = useState<GrantView>();
  const grants = query.data?.grants;
  const columns: Column<GrantView>[] = [
    { id: "person", header: "Person", sort: (g) => g.userName, cell: (g) => g.userName },
    { id: "role", header: "Role", sort: (g) => g.roleName, cell: (g) => g.roleName },
    { id: "scope", header: "On what", sort: (g) => scopeText(g.scope), cell: (g) => <ScopeView scope={g.scope} /> },
    { id: "since", header: "Since", sort: (g) => (g.createdAt ? timestampMs(g.createdAt) : 0), cell: (g) => <Age at={g.createdAt && timestampMs(g.createdAt)} /> },
    { id: "by", header: "Given by", cell: (g) => g.createdBy || "–" },
    {
      id: "actions",
      header: "Actions",
      isHeaderHidden: true,
      cell: (g) => (
        <span className="q-actions">
          {may("audit.view") && (
            <Link to="/audit" search={{ actor: g.userId }} aria-label={`What they did: ${g.userName}`}>
              What they did
            </Link>
          )}
          <ActionButton variant="link" action={manage} onClick={() => setLeaving(g)}>
            Take away
          </ActionButton>
        </span>
      ),
    },
  ];
  return (
    <>
      {(grants?.length ?? 0) > 0 && (
        <div className="q-toolbar">
          <Filter label="Filter by person, role or object" value={page.filter} onChange={page.setFilter} />
        </div>
      )}
      <DataTable
        label="Who may do what"
        rows={grantsWith(grants, page.filter)}
        columns={columns}
        rowId={keyOf}
        rowName={(g) => `${g.roleName} of ${g.userName}`}
        sort={page.sort ?? { id: "person", descending: false }}
        onSort={page.setSort}
        fault={query.error ? faultOf(query.error) : undefined}
        onRetry={() => void query.refetch()}
        empty={
          page.filter ? (
            <Empty title={`No grant with "${page.filter}"`}>No person, role or object among the grants has these words.</Empty>
          ) : (
            <Empty title="Nobody has a role" action={<ActionButton isLarge variant="primary" action={manage} onClick={page.openCreate}>Give a role</ActionButton>}>
              A role counts once it is given to a person, on everything or on one host, pool or VM.
            </Empty>
          )
        }
      />
      <Suspense>
        {page.isCreating && manage.allowed && <GiveRole onClose={page.closeCreate} />}
        {leaving && <TakeAway grant={leaving} grants={grants ?? []} onClose={() => setLeaving(undefined)} />}
      </Suspense>
    </>
  );
}
