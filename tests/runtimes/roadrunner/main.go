// RoadRunner's worker pool and relay behind an HTTP server: the tests' own program around RoadRunner's modules.
//
// Pool and goridge are taken at versions that the checksum database knows; of RoadRunner's HTTP plugin it knows none, so
// the front is ours. It takes the command line that Octane writes (`-c FILE -o KEY=VALUE ... serve`) and ends as
// RoadRunner does: the first TERM lets requests end, the second one does not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/pool/ipc/pipe"
	"github.com/roadrunner-server/pool/payload"
	"github.com/roadrunner-server/pool/pool"
	"github.com/roadrunner-server/pool/pool/static_pool"
	"go.uber.org/zap"
)

// The longest that a worker may take to end after the first TERM, as in RoadRunner's `endure.grace_period`.
const grace = 30 * time.Second

func main() {
	log, err := zap.NewProduction()
	if err == nil {
		err = serve(options(os.Args[1:]), log)
	}
	if err != nil {
		os.Stderr.WriteString("rr: " + err.Error() + "\n")
		os.Exit(1)
	}
}

// options are the `-o KEY=VALUE`s.
func options(arguments []string) map[string]string {
	found := map[string]string{}
	for at, argument := range arguments {
		if argument != "-o" || at+1 == len(arguments) {
			continue
		}
		key, value, _ := strings.Cut(arguments[at+1], "=")
		found[key] = value
	}
	return found
}

func serve(options map[string]string, log *zap.Logger) error {
	command := strings.Split(options["server.command"], ",")
	workers, err := strconv.ParseUint(options["http.pool.num_workers"], 10, 8)
	if err != nil {
		return errors.New("-o http.pool.num_workers=N is missing")
	}
	jobs, _ := strconv.ParseUint(options["http.pool.max_jobs"], 10, 32)
	start := func([]string) *exec.Cmd { return exec.Command(command[0], command[1:]...) }
	limits := &pool.Config{NumWorkers: workers, MaxJobs: jobs, DestroyTimeout: grace}
	php, err := static_pool.NewPool(context.Background(), start, pipe.NewPipeFactory(log), limits, log)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: options["http.address"], Handler: handler{php}}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	asked := make(chan os.Signal, 2)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-ended:
		return err
	case <-asked:
	}
	go func() {
		<-asked
		os.Exit(1)
	}()
	err = server.Shutdown(context.Background())
	php.Destroy(context.Background())
	return err
}

// What a worker is told of a request, and what it says of its answer: the JSON of RoadRunner's HTTP plugin.
type asked struct {
	RemoteAddr string            `json:"remoteAddr"`
	Protocol   string            `json:"protocol"`
	Method     string            `json:"method"`
	URI        string            `json:"uri"`
	Headers    http.Header       `json:"headers"`
	Cookies    map[string]string `json:"cookies"`
	RawQuery   string            `json:"rawQuery"`
}

type answered struct {
	Status  int         `json:"status"`
	Headers http.Header `json:"headers"`
}

type handler struct{ php *static_pool.Pool }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.exchange(w, r); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (h handler) exchange(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	about := asked{RemoteAddr: r.RemoteAddr, Protocol: r.Proto, Method: r.Method, URI: "http://" + r.Host + r.RequestURI,
		Headers: r.Header, Cookies: map[string]string{}, RawQuery: r.URL.RawQuery}
	for _, cookie := range r.Cookies() {
		about.Cookies[cookie.Name] = cookie.Value
	}
	request, err := json.Marshal(about)
	if err != nil {
		return err
	}
	results, err := h.php.Exec(r.Context(), &payload.Payload{Context: request, Body: body, Codec: frame.CodecJSON}, nil)
	if err != nil {
		return err
	}
	result := <-results
	if result.Error() != nil {
		return result.Error()
	}
	var answer answered
	if err := json.Unmarshal(result.Context(), &answer); err != nil {
		return err
	}
	for name, values := range answer.Headers {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(answer.Status)
	_, err = w.Write(result.Body())
	return err
}
