// What every page may reach: transport, caches and the watch line, made once per app.
import { TransportProvider } from "@connectrpc/connect-query";
import { createClient, type Client, type Transport } from "@connectrpc/connect";
import type { DescService } from "@bufbuild/protobuf";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createContext, useContext, useMemo, useSyncExternalStore, type ReactNode } from "react";
import { codeOf } from "./fault";
import { Uploads } from "./uploads";
import { WatchLine, type LineState } from "./watch";

export interface Api {
  transport: Transport;
  queries: QueryClient;
  watch: WatchLine;
  uploads: Uploads;
}

export function createApi(transport: Transport): Api {
  const queries = new QueryClient({
    defaultOptions: {
      queries: {
        // The watch stream keeps answers fresh; asking again is for gaps.
        staleTime: 15_000,
        refetchOnWindowFocus: false,
        // A typed refusal will not change by asking twice; a broken line may.
        retry: (count, error) => codeOf(error) === undefined && count < 2,
        retryDelay: (count) => 400 * 2 ** count,
      },
    },
  });
  return { transport, queries, watch: new WatchLine(transport, queries), uploads: new Uploads() };
}

const ApiContext = createContext<Api | undefined>(undefined);

export function ApiProvider({ api, children }: { api: Api; children: ReactNode }) {
  return (
    <ApiContext.Provider value={api}>
      <TransportProvider transport={api.transport}>
        <QueryClientProvider client={api.queries}>{children}</QueryClientProvider>
      </TransportProvider>
    </ApiContext.Provider>
  );
}

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) throw new Error("useApi outside of ApiProvider");
  return api;
}

export function useLine(): LineState {
  const { watch } = useApi();
  return useSyncExternalStore(watch.subscribe, watch.state);
}

/** A client for calls that are no query: streams, and steps inside a handler. */
export function useClient<S extends DescService>(service: S): Client<S> {
  const { transport } = useApi();
  return useMemo(() => createClient(service, transport), [service, transport]);
}
