import { create } from "@bufbuild/protobuf";
import { createConnectQueryKey } from "@connectrpc/connect-query";
import { QueryClient, QueryObserver, type QueryKey } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";
import { gazeOf } from "./gaze";
import { ListVmsResponseSchema, VmSchema, VmService } from "./gen/quantix/vm/v1/vm_pb";

const listKey: QueryKey = createConnectQueryKey({ schema: VmService.method.listVms, input: {}, cardinality: "infinite" });
const getKey = (id: string): QueryKey => createConnectQueryKey({ schema: VmService.method.getVm, input: { id }, cardinality: "finite" });

function show(queries: QueryClient, queryKey: QueryKey): () => void {
  return new QueryObserver(queries, { queryKey, queryFn: () => new Promise(() => {}), staleTime: Infinity }).subscribe(() => {});
}

function page(...ids: string[]) {
  return create(ListVmsResponseSchema, { vms: ids.map((id) => ({ id })) });
}

describe("the gaze", () => {
  it("holds what is shown, once, and nothing that is only kept", () => {
    const queries = new QueryClient();
    queries.setQueryData(listKey, { pages: [page("b", "a"), page("c")], pageParams: [] });
    queries.setQueryData(getKey("a"), create(VmSchema, { id: "a" }));
    queries.setQueryData(getKey("z"), create(VmSchema, { id: "z" }));
    expect(gazeOf(queries)).toEqual([]);
    const ends = [listKey, getKey("a")].map((key) => show(queries, key));
    expect(gazeOf(queries)).toEqual([{ kind: "vm", ids: ["a", "b", "c"] }]);
    for (const end of ends) end();
    expect(gazeOf(queries)).toEqual([]);
  });

  it("is cut at what the vDC takes", () => {
    const queries = new QueryClient();
    queries.setQueryData(listKey, { pages: [page(...Array.from({ length: 2500 }, (_, n) => `vm-${n}`))], pageParams: [] });
    show(queries, listKey);
    expect(gazeOf(queries)[0]?.ids).toHaveLength(2000);
  });
});
