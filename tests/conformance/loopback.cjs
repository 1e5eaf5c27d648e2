// Preloaded into the suite's server, which would otherwise listen on every interface.
const net = require('net')
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  const done = rest.find(argument => typeof argument === 'function')
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, done)
}
