// FrankenPHP in Caddy, as small as Octane's Caddyfile needs it: the tests' own program around both modules.
//
// Both are taken at versions that the checksum database knows; FrankenPHP's own Caddy module is not, so the few lines
// that tie one to the other are ours: the global option `frankenphp { worker FILE }` and the handler `php_worker`.
package main

import (
	"net/http"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/dunglas/frankenphp"
)

func main() { caddycmd.Main() }

func init() {
	caddy.RegisterModule(&PHP{})
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterGlobalOption("frankenphp", parsePHP)
	httpcaddyfile.RegisterHandlerDirective("php_worker", parseHandler)
}

// PHP is the interpreter with its worker script, an app of Caddy's.
type PHP struct {
	Worker string `json:"worker"`
}

// CaddyModule names it as FrankenPHP's own does, so that /config/apps/frankenphp is where Octane looks for it.
func (*PHP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "frankenphp", New: func() caddy.Module { return new(PHP) }}
}

// Start starts one worker: Debian's PHP is not built thread-safe, and so FrankenPHP has but one thread. (From 1.5 on it
// starts more under load all the same, which ends the process: hence 1.4.)
func (php *PHP) Start() error {
	return frankenphp.Init(frankenphp.WithWorkers(php.Worker, 1, nil, nil), frankenphp.WithLogger(caddy.Log()))
}

// Stop leaves PHP as it is: Caddy waits for the requests in hand, and its end is the worker's. (Where PHP is not
// thread-safe, ending it first is a fault.)
func (*PHP) Stop() error { return nil }

func parsePHP(d *caddyfile.Dispenser, _ any) (any, error) {
	php := &PHP{}
	for d.Next() {
		for d.NextBlock(0) {
			if d.Val() != "worker" || !d.AllArgs(&php.Worker) {
				return nil, d.ArgErr()
			}
		}
	}
	return httpcaddyfile.App{Name: "frankenphp", Value: caddyconfig.JSON(php, nil)}, nil
}

// Handler gives every request to the worker.
type Handler struct {
	Worker string `json:"worker"`
}

// CaddyModule names the handler.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.php_worker", New: func() caddy.Module { return new(Handler) }}
}

// Provision starts PHP before the first request: an app that a handler asks for is started first.
func (h *Handler) Provision(ctx caddy.Context) error {
	_, err := ctx.App("frankenphp")
	return err
}

// ServeHTTP hands the request over and waits for its answer.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	asked := r.Clone(r.Context())
	asked.URL.Path = "/" + filepath.Base(h.Worker)
	request, err := frankenphp.NewRequestWithContext(asked,
		frankenphp.WithRequestResolvedDocumentRoot(filepath.Dir(h.Worker)),
		frankenphp.WithOriginalRequest(r))
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return frankenphp.ServeHTTP(w, request)
}

func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := &Handler{}
	for h.Next() {
		if !h.AllArgs(&handler.Worker) {
			return nil, h.ArgErr()
		}
	}
	return handler, nil
}
