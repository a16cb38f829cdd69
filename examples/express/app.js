// A shop's backend in Express: it has no login code, and knows its user from the headers that Menshen sets.
'use strict';

const express = require('express');

const app = express();
app.use(express.json());

// With assertions, nobody but Menshen can say who the user is, even if others reach this server.
const { MENSHEN_JWKS, MENSHEN_AUDIENCE } = process.env;
if (MENSHEN_JWKS) app.use(require('./assertion')(MENSHEN_JWKS, MENSHEN_AUDIENCE));

function user(req) {
  if (req.assertion) return req.assertion.sub;
  // The rule of WeChat Cloud Run: only a request with a source is somebody's.
  return req.get('x-wx-source') ? req.get('x-wx-openid') ?? null : null;
}

function appName(req) {
  return req.assertion ? req.assertion.app : req.get('x-menshen-app') ?? null;
}

app.get('/orders', (req, res) => {
  res.json({ user: user(req), app: appName(req) });
});

app.post('/orders', (req, res) => {
  res.json({ user: user(req), app: appName(req), order: req.body ?? null });
});

app.get('/headers', (req, res) => {
  const pairs = [];
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    pairs.push([req.rawHeaders[i], req.rawHeaders[i + 1]]);
  }
  res.json(pairs);
});

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
