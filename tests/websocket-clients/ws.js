// Opens a WebSocket with npm's `ws`, offering sub-protocols, sends one message, and prints what came of it as JSON.
const WebSocket = require('ws');

const [url, ...offered] = process.argv.slice(2);
const socket = new WebSocket(url, offered);
let seen = null;

socket.on('open', () => socket.send('hello'));
socket.on('message', (message) => {
  seen = { protocol: socket.protocol, message: message.toString() };
  socket.close(1000);
});
socket.on('error', (error) => {
  console.log(JSON.stringify({ error: error.message }));
  process.exit(0);
});
socket.on('close', (code) => {
  console.log(JSON.stringify({ ...seen, code }));
  process.exit(0);
});
