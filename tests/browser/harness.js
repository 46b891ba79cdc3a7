// What the browser tests run inside the page, in every front end.
window.harness = (() => {
  const app = () => window.jupyterapp;
  const panel = () => app()?.shell?.currentWidget;
  // Voila keeps its kernel with the widgets, JupyterLab and Notebook with the open document.
  const kernel = () =>
    app()?.widgetManager?.kernel ?? panel()?.context?.sessionContext?.session?.kernel;
  const idle = () =>
    kernel()?.connectionStatus === "connected" && kernel().status === "idle";

  // What callbacks print on stderr belongs to no cell, so no cell's output shows it.
  const strays = [];
  const listen = () => {
    kernel().iopubMessage.connect((_, message) => {
      if (message.parent_header?.msg_type !== "comm_msg") return;
      const { msg_type: type } = message.header;
      if (type === "error" || (type === "stream" && message.content.name === "stderr"))
        strays.push({ output_type: type, ...message.content });
    });
    return kernel().id;
  };

  const outputs = () => {
    const found = [];
    for (const cell of panel().content.model.cells)
      for (let i = 0; i < (cell.outputs?.length ?? 0); i++)
        found.push(cell.outputs.get(i).toJSON());
    return found;
  };

  let running = false;
  let failure = null;
  const runAll = () => {
    running = true;
    failure = null;
    app().commands.execute("notebook:run-all-cells")
      .catch((error) => { failure = String(error); })
      .finally(() => { running = false; });
  };

  // Put other cells in the place of those there are, as if the notebook had just been opened.
  const turn = (cells) => {
    const { sharedModel } = panel().content.model;
    sharedModel.transact(() => {
      sharedModel.deleteCellRange(0, sharedModel.cells.length);
      sharedModel.insertCells(0, cells);
    });
    panel().content.activeCellIndex = 0;
    panel().content.mode = "command";
    strays.length = 0;
  };

  // ipykernel 7 now and then leaves a request unread until somebody else connects
  // (ipython/ipykernel#1554).
  const connectToo = () => {
    const { id, serverSettings: { wsUrl, token } } = kernel();
    const socket = new WebSocket(
      `${wsUrl}api/kernels/${id}/channels?session_id=harness&token=${token}`);
    setTimeout(() => socket.close(), 2000);
  };

  const ask = async (code) => {
    const request = kernel().requestExecute({
      code, silent: true, store_history: false, user_expressions: { answer: "_answer_json" },
    });
    const patience = setInterval(connectToo, 10_000);
    const { content } = await request.done.finally(() => clearInterval(patience));
    const answer = content.user_expressions?.answer;
    if (content.status === "ok" && answer?.status === "ok")
      return { text: answer.data["text/plain"] };
    const { ename, evalue, traceback } = content.status === "ok" ? answer : content;
    return { error: `${ename}: ${evalue}\n${(traceback ?? []).join("\n")}` };
  };

  // Voila lets no page execute code, but comms pass.
  const askOverComm = (code) =>
    new Promise((resolve) => {
      const comm = kernel().createComm("harness");
      comm.onMsg = (message) => resolve(message.content.data);
      comm.onClose = () => resolve({ error: "the notebook's first cell has not run" });
      comm.open({ code });
    });

  const within = (milliseconds, promise) =>
    Promise.race([
      promise,
      new Promise((_, reject) => setTimeout(
        () => reject(Error(`no answer in ${milliseconds} ms`)), milliseconds)),
    ]);

  const table = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  const step = (crc, byte) => table[(crc ^ byte) & 255] ^ (crc >>> 8);

  const picture = (canvas) => {
    const { width, height } = canvas;
    if (!width || !height) return { width, height, rows: [], crc: 0, blank: true };
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const rows = [];
    let [whole, blank, at] = [-1, true, 0];
    for (let y = 0; y < height; y++) {
      let row = -1;
      for (let x = 0; x < width; x++, at += 4)
        for (let c = 0; c < 3; c++) {
          row = step(row, data[at + c]);
          whole = step(whole, data[at + c]);
          blank &&= data[at + c] === data[c];
        }
      rows.push(~row >>> 0);
    }
    return { width, height, rows, crc: ~whole >>> 0, blank };
  };

  return {
    kernel, idle, listen, outputs, runAll, turn, ask, askOverComm, picture, within,
    strays: () => strays,
    ran: () => !running && idle(),
    failure: () => failure,
  };
})();
