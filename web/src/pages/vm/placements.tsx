// Which hosts could take the VM as it stands on the form, and why the others could not.
import { skipToken, useQuery } from "@connectrpc/connect-query";
import { useEffect, useMemo, useState } from "react";
import { useFormContext, useWatch } from "react-hook-form";
import { faultOf } from "../../api/fault";
import { VmService } from "../../api/gen/quantix/vm/v1/vm_pb";
import { FaultPanel } from "../../ui/fault";
import { PAGE_ROWS } from "../../ui/page";
import { SearchSelect, SHUT } from "../../ui/search-select";
import { requestOf, vmRule, type VmInput } from "./vm-form";

const SETTLE_MS = 300;
const PLACEHOLDER_NAME = "vm";
/** Of a large fleet not every host is listed that cannot. */
const REFUSED_SHOWN = 5;

export function Placements() {
  const form = useFormContext<VmInput>();
  const values = useWatch({ control: form.control }) as VmInput;
  const [settled, setSettled] = useState(values);
  const [search, setSearch] = useState(SHUT);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(values), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [values]);
  const request = useMemo(() => {
    const parsed = vmRule.safeParse({ ...settled, name: settled.name || PLACEHOLDER_NAME, hostId: "" });
    return parsed.success ? requestOf(parsed.data) : undefined;
  }, [settled]);
  const query = useQuery(VmService.method.listPlacements, request ? { vm: request } : skipToken, {
    placeholderData: (old) => old,
    retry: false,
    staleTime: 0,
  });
  const places = query.data?.placements ?? [];
  const chosen = places.find((p) => p.hostId === query.data?.chosenHostId);
  const refused = places.filter((p) => !p.fits);
  const picked = places.find((p) => p.hostId === values.hostId);
  const wanted = search.text.toLowerCase();
  const rows = places
    .filter((p) => p.host.toLowerCase().includes(wanted))
    .map((p) => ({ id: p.hostId, name: p.host, note: p.fits ? undefined : p.reasonIfNot, disabled: !p.fits }));
  const auto = chosen ? `Chosen automatically: ${chosen.host}` : "Chosen automatically";
  return (
    <div className="q-field">
      <SearchSelect
        label="Host"
        empty={auto}
        help={!picked && chosen ? query.data?.chosenReason : undefined}
        error={picked && !picked.fits ? picked.reasonIfNot : undefined}
        value={picked && { id: picked.hostId, name: picked.host }}
        onChange={(choice) => form.setValue("hostId", choice?.id ?? "")}
        search={search}
        onSearch={setSearch}
        found={{ rows: query.data ? rows.slice(0, PAGE_ROWS) : undefined, total: rows.length, again: () => void query.refetch() }}
        none="No host is registered."
      />
      {query.error && <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />}
      {refused.length > 0 && (
        <ul className="q-list" aria-label="Hosts that cannot take it">
          {refused.slice(0, REFUSED_SHOWN).map((p) => (
            <li key={p.hostId}>
              <span>{p.host}</span>
              <span className="q-muted">{p.reasonIfNot}</span>
            </li>
          ))}
          {refused.length > REFUSED_SHOWN && <li className="q-muted">and {(refused.length - REFUSED_SHOWN).toLocaleString("en")} more: look for one in the field to see why.</li>}
        </ul>
      )}
    </div>
  );
}
