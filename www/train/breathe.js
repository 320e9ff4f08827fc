const channel = globalThis.MessageChannel && new MessageChannel();
const waiting = [];

/** Lets messages in. A timer would be slowed down in a tab that nobody looks at. */
export function breathe() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port1.onmessage = () => {
      waiting.shift()();
      // A port that nobody listens to does not keep a process going that has nothing else to do.
      if (waiting.length === 0) channel.port1.onmessage = null;
    };
    channel.port2.postMessage(null);
  });
}
