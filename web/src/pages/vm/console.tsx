// The guest's screen in the page: a single-use ticket, then RFB over a WebSocket.
import { Button, Switch } from "@patternfly/react-core";
import RFB from "@novnc/novnc";
import { useCallback, useEffect, useRef, useState } from "react";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { VmService, type Vm } from "../../api/gen/quantix/vm/v1/vm_pb";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton, allowedOf } from "../../ui/parts";
import { Status, type StatusView } from "../../ui/status";

type Line = { kind: "idle" } | { kind: "connecting" } | { kind: "connected"; name: string } | { kind: "closed"; fault: FaultView };

function lineStatus(line: Line): StatusView {
  switch (line.kind) {
    case "connecting":
      return { tone: "work", label: "Connecting" };
    case "connected":
      return { tone: "ok", label: "Connected" };
    case "closed":
      return { tone: "error", label: "Disconnected" };
    default:
      return { tone: "off", label: "Not connected" };
  }
}

/** `/api/…` of this page's origin as a WebSocket address. */
export function socketUrl(path: string, origin: string): string {
  const url = new URL(path, origin);
  url.protocol = url.protocol === "http:" ? "ws:" : "wss:";
  return url.href;
}

export function Console({ vm }: { vm: Vm }) {
  const client = useClient(VmService);
  const screen = useRef<HTMLDivElement>(null);
  const frame = useRef<HTMLElement>(null);
  const rfb = useRef<RFB>(null);
  const [line, setLine] = useState<Line>({ kind: "idle" });
  const [scale, setScale] = useState(true);
  const [attempt, setAttempt] = useState(0);
  const [full, setFull] = useState(false);
  const action = allowedOf(vm.allowedActions, "console");
  const { allowed } = action;

  useEffect(() => {
    if (!allowed || !screen.current) {
      setLine({ kind: "idle" });
      return undefined;
    }
    const target = screen.current;
    let ended = false;
    const connect = async () => {
      setLine({ kind: "connecting" });
      try {
        const ticket = await client.createConsoleTicket({ vmId: vm.id });
        if (ended) return;
        const session = new RFB(target, socketUrl(ticket.websocketPath, window.location.href), { wsProtocols: ["binary"] });
        session.background = "transparent";
        session.scaleViewport = true;
        rfb.current = session;
        session.addEventListener("connect", () => {
          setLine({ kind: "connected", name: vm.name });
          session.focus();
        });
        session.addEventListener("disconnect", (event) => {
          rfb.current = null;
          if (!ended) setLine({ kind: "closed", fault: closedFault(event.detail.clean) });
        });
        session.addEventListener("securityfailure", (event) => {
          setLine({ kind: "closed", fault: { ...closedFault(false), cause: event.detail.reason ?? `security status ${event.detail.status}` } });
        });
      } catch (error) {
        if (!ended) setLine({ kind: "closed", fault: faultOf(error) });
      }
    };
    void connect();
    return () => {
      ended = true;
      rfb.current?.disconnect();
      rfb.current = null;
    };
  }, [allowed, attempt, client, vm.id, vm.name]);

  useEffect(() => {
    if (rfb.current) rfb.current.scaleViewport = scale;
  }, [scale, line]);

  useEffect(() => {
    const look = () => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", look);
    return () => document.removeEventListener("fullscreenchange", look);
  }, []);

  const again = useCallback(() => setAttempt((n) => n + 1), []);
  const connected = line.kind === "connected";
  const when = { verb: "console", allowed: connected, reasonIfNot: "The console is not connected." };
  return (
    <section className="q-console" aria-label={`Console of ${vm.name}`} ref={frame}>
      <div className="q-actions">
        <Status {...lineStatus(line)} />
        <ActionButton action={when} onClick={() => rfb.current?.sendCtrlAltDel()}>
          Send Ctrl-Alt-Del
        </ActionButton>
        <ActionButton action={when} onClick={() => void (full ? document.exitFullscreen() : frame.current?.requestFullscreen())}>
          {full ? "Leave full screen" : "Full screen"}
        </ActionButton>
        <Switch id="console-scale" label="Fit to the page" isChecked={scale} onChange={(_, on) => setScale(on)} />
        {connected && <span className="q-muted">Keys go to the guest while its screen has the focus.</span>}
      </div>
      {line.kind === "closed" && <FaultPanel fault={line.fault} onRetry={again} />}
      <div className="q-console__screen" data-connected={connected} aria-label={`Screen of ${vm.name}`} role="application">
        {!allowed && <div className="q-console__veil">{action.reasonIfNot}</div>}
        {allowed && line.kind === "closed" && (
          <div className="q-console__veil">
            No picture.
            <Button variant="secondary" size="sm" onClick={again}>
              Connect again
            </Button>
          </div>
        )}
        <div ref={screen} className="q-console__canvas" hidden={!allowed || line.kind === "closed"} />
      </div>
    </section>
  );
}

function closedFault(clean: boolean): FaultView {
  return clean
    ? {
        code: "CONSOLE_CLOSED",
        message: "The guest's screen was closed from the other side.",
        cause: "The host ended the connection: the VM stopped, or somebody else took the screen.",
        remedy: "Connect again if the VM runs.",
      }
    : {
        code: "CONSOLE_LINE_BROKEN",
        message: "The line to the guest's screen broke.",
        cause: "The WebSocket closed without a word; the host or the vDC may be out of reach.",
        remedy: "Connect again; if it stays, look at the state of the host.",
      };
}
