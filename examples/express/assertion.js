// Checks X-Menshen-Assertion: middleware for routes that only users may call.
'use strict';

const { createRemoteJWKSet, jwtVerify } = require('jose');

module.exports = function assertion(jwks, audience) {
  const keys = createRemoteJWKSet(new URL(jwks)); // kept for ten minutes, and fetched for an unknown kid, every 30 s at most
  const checks = { algorithms: ['ES256'], typ: 'assertion+jwt', issuer: 'menshen', audience, requiredClaims: ['sub', 'exp'] };
  return (req, res, next) => {
    jwtVerify(req.get('x-menshen-assertion') ?? '', keys, checks).then(
      ({ payload }) => { req.assertion = payload; next(); },
      () => res.sendStatus(401),
    );
  };
};
