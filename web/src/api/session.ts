// Who is signed in.
import type { Transport } from "@connectrpc/connect";
import { createQueryOptions } from "@connectrpc/connect-query";
import { useQuery } from "@connectrpc/connect-query";
import { SessionService } from "./gen/quantix/session/v1/session_pb";

export function sessionQuery(transport: Transport) {
  return {
    ...createQueryOptions(SessionService.method.getSession, {}, { transport }),
    staleTime: 60_000,
  };
}

export function useSession() {
  return useQuery(SessionService.method.getSession, {}, { staleTime: 60_000 });
}
