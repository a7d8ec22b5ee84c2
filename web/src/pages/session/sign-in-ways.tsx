// What the sign-in page offers beside name and password, and why a sign-in at a provider did not work.
import { useQuery } from "@connectrpc/connect-query";
import { Button } from "@patternfly/react-core";
import { useSearch } from "@tanstack/react-router";
import { codeOf, faultOf, viewOf } from "../../api/fault";
import { FaultCode } from "../../api/gen/quantix/fault/v1/fault_pb";
import { IdentityService, IdentitySourceKind } from "../../api/gen/quantix/identity/v1/identity_pb";
import { FaultPanel } from "../../ui/fault";

/** Where the browser is sent to sign in at a provider; `next`: where it comes back to. */
export function providerPath(id: string, next: string): string {
  return `/api/v1/sign-in/oidc/${encodeURIComponent(id)}?next=${encodeURIComponent(next)}`;
}

function useWays() {
  // Without an answer the form below it still works, and says what is wrong when it does not.
  return useQuery(IdentityService.method.listSignInWays, {}, { retry: false }).data?.ways ?? [];
}

/** One button for each provider. They are pages elsewhere: links, not calls. */
export function Providers() {
  const { next } = useSearch({ strict: false }) as { next?: string };
  const providers = useWays().filter((way) => way.kind === IdentitySourceKind.OIDC);
  if (providers.length === 0) return null;
  return (
    <>
      <ul className="q-ways" aria-label="Other ways to sign in">
        {providers.map((way) => (
          <li key={way.id}>
            <Button component="a" variant="secondary" isBlock href={providerPath(way.id, next ?? "/")}>
              Sign in with {way.title}
            </Button>
          </li>
        ))}
      </ul>
      <div className="q-ways__or" role="separator">
        or with name and password
      </div>
    </>
  );
}

/** Whose name and password are asked for. */
export function DirectoryHint() {
  const titles = useWays()
    .filter((way) => way.kind === IdentitySourceKind.LDAP)
    .map((way) => way.title);
  if (titles.length === 0) return null;
  return <p className="q-gate__note q-muted">Name and password of {titles.join(" or ")} work here, too.</p>;
}

/** The fault a provider's answer led to, by the id in the address it came back to. */
export function HandedOver() {
  const { fault: id = "" } = useSearch({ strict: false }) as { fault?: string };
  const query = useQuery(IdentityService.method.getSignInFault, { id }, { enabled: id !== "", retry: false, staleTime: Infinity });
  if (id === "") return null;
  if (query.data?.fault) return <FaultPanel fault={viewOf(query.data.fault)} />;
  if (!query.error) return null;
  const isGone = codeOf(query.error) === FaultCode.NOT_FOUND;
  return (
    <FaultPanel
      fault={
        isGone
          ? { code: "NOT_FOUND", message: "Signing in at the provider did not work; why is no longer known here.", remedy: "Try again. The audit log of the vDC has the reason." }
          : faultOf(query.error)
      }
    />
  );
}
