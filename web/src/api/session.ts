// Who is signed in, and what they may.
import type { Transport } from "@connectrpc/connect";
import { createQueryOptions } from "@connectrpc/connect-query";
import { useQuery } from "@connectrpc/connect-query";
import { useMemo } from "react";
import type { Allowed } from "../ui/parts";
import { SessionService, type Session } from "./gen/quantix/session/v1/session_pb";

export function sessionQuery(transport: Transport) {
  return {
    ...createQueryOptions(SessionService.method.getSession, {}, { transport }),
    staleTime: 60_000,
  };
}

export function useSession() {
  return useQuery(SessionService.method.getSession, {}, { staleTime: 60_000 });
}

/** Answers whether a permission is held on anything at all; what exactly may be done there the vDC says with each thing. */
export type May = (permission: string) => boolean;

export function mayOf(session: Session | undefined): May {
  return (permission) => session !== undefined && (session.permissions.includes(permission) || session.permissionsSomewhere.includes(permission));
}

/** No page stands before the session is known, so that nothing shows and goes again. */
export function useMay(): May {
  const session = useSession().data;
  return useMemo(() => mayOf(session), [session]);
}

/**
 * Whether something may be done that belongs to no single thing, such as creating one, and why not: the vDC says so of
 * things that are there. `on`: where the permission is needed; anything but `everything` is enough to have it on one of these.
 */
export type Right = (permission: string, on?: string) => Allowed;

/** The same sentence that the vDC says of things. */
export function rightOf(session: Session | undefined): Right {
  const may = mayOf(session);
  return (permission, on = "everything") => {
    const allowed = on === "everything" ? (session?.permissions.includes(permission) ?? false) : may(permission);
    return { verb: permission, allowed, reasonIfNot: allowed ? "" : `You need ${permission} on ${on}. Who manages people can give it.` };
  };
}

export function useRight(): Right {
  const session = useSession().data;
  return useMemo(() => rightOf(session), [session]);
}
