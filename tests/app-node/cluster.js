// A program that takes up new code at a signal: the main process stays, and at USR2 starts workers from what `current`
// names now, then lets those of before end what they have. With DEAF set it does nothing at USR2.
const cluster = require('cluster');
const fs = require('fs');

const current = process.env.CURRENT;
const fork = () => {
    const dir = fs.realpathSync(current);
    cluster.setupPrimary({ exec: `${dir}/server.js`, cwd: dir });
    return [cluster.fork(), cluster.fork()];
};

let workers = fork();
process.on('SIGUSR2', () => {
    if (process.env.DEAF) {
        return;
    }
    const old = workers;
    workers = fork();
    workers[1].once('listening', () => old.forEach((worker) => process.kill(worker.process.pid, 'SIGTERM')));
});
