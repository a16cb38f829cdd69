// Opens a WebSocket with undici, which is Node's own, offering sub-protocols, sends one message, and prints what came of it
// as JSON.
const { WebSocket } = require('undici');

const [url, ...offered] = process.argv.slice(2);
const socket = new WebSocket(url, offered);
let seen = null;

socket.addEventListener('open', () => socket.send('hello'));
socket.addEventListener('message', (event) => {
  seen = { protocol: socket.protocol, message: event.data };
  socket.close(1000);
});
socket.addEventListener('error', (event) => {
  console.log(JSON.stringify({ error: String(event.error ?? event.message) }));
  process.exit(0);
});
socket.addEventListener('close', (event) => {
  console.log(JSON.stringify({ ...seen, code: event.code }));
  process.exit(0);
});
