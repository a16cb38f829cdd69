// Makes the one client of the mini-program.

const { createClient } = require('./menshen.js');
const { simulated } = require('./simulated.js');
const config = require('./config.js');

App({
  menshen: createClient({
    wx: config.simulator ? simulated(wx, config) : wx,
    baseUrl: config.baseUrl,
  }),
});
