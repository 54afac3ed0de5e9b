// The app under test as a Node program: every page says which release it began with (read when the program started)
// and which it ended with (read now, beside this file). It listens on PORT of 127.0.0.1, and at TERM ends what it has.
const fs = require('fs');
const http = require('http');

// Resolved: `current` may name another release by now.
const dir = fs.realpathSync(__dirname);
const release = () => fs.readFileSync(`${dir}/RELEASE`, 'utf8').trim();
const start = release();

const page = (response, values) => {
    const lines = [`start=${start}`, ...values, `end=${release()}`];
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    response.end(lines.join('\n') + '\n');
};

const server = http.createServer((request, response) => {
    const work = request.url.match(/^\/work\/(\d+)$/);
    if (request.url === '/up') {
        response.writeHead(fs.existsSync(`${dir}/BROKEN`) ? 500 : 200);
        response.end('up\n');
    } else if (work) {
        setTimeout(() => page(response, [`worked=${work[1]}`]), Number(work[1]));
    } else {
        page(response, [`pid=${process.pid}`]);
    }
});
// As programs do that read much before they listen.
setTimeout(() => server.listen(Number(process.env.PORT), '127.0.0.1'), Number(process.env.BOOT_MS || 0));
process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
});
