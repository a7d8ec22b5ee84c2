// The whole app around one Api: caches, router, and what happens when the session ends.
import { RouterProvider, type RouterHistory } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { ApiProvider, type Api } from "./api/context";
import { FaultCode } from "./api/gen/quantix/fault/v1/fault_pb";
import { onSessionRefused } from "./api/transport";
import { createAppRouter } from "./router";

export function App({ api, history }: { api: Api; history?: RouterHistory }) {
  const [router] = useState(() => createAppRouter(api, history));
  useEffect(() => {
    onSessionRefused((code) => {
      const { pathname, href } = router.state.location;
      if (code === FaultCode.PASSWORD_CHANGE_REQUIRED) {
        void router.navigate({ to: "/change-password" });
      } else if (pathname !== "/login") {
        api.watch.stop();
        api.queries.clear();
        void router.navigate({ to: "/login", search: { next: href } });
      }
    });
    return () => onSessionRefused(() => {});
  }, [api, router]);
  return (
    <ApiProvider api={api}>
      <RouterProvider router={router} />
    </ApiProvider>
  );
}
