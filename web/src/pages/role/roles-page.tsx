// Roles, and who has which on what.
import { lazy, Suspense } from "react";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { ActionButton, Loading, PageTitle } from "../../ui/parts";
import { Tabs } from "../../ui/tabs";
import { RoleTable } from "./role-table";

const GrantTable = lazy(() => import("./grant-table").then((m) => ({ default: m.GrantTable })));

const TABS = [
  { id: "roles", label: "Roles" },
  { id: "grants", label: "Who may do what" },
] as const;

export function RolesPage() {
  const page = usePageState();
  const manage = useRight()("people.manage");
  const isGrants = page.tab === "grants";
  return (
    <>
      <PageTitle
        title="Roles"
        note="Nobody may do anything that no role of theirs allows."
        actions={
          <ActionButton variant="primary" action={manage} onClick={page.openCreate}>
            {isGrants ? "Give a role" : "Create role"}
          </ActionButton>
        }
      />
      <Tabs label="Roles" tabs={TABS} active={isGrants ? "grants" : "roles"} onSelect={(t) => page.setTab(t === "roles" ? undefined : t)} />
      {isGrants ? (
        <Suspense fallback={<Loading label="grants" />}>
          <GrantTable />
        </Suspense>
      ) : (
        <RoleTable />
      )}
    </>
  );
}
