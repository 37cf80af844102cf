// The bound: reads an index by scrolls, one reader for each group of shards, as fast as the engine gives it. Answers
// are thrown away, or each hit is written as one line as it came; nothing of a document is parsed. Standard library only.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	url    = flag.String("url", "", "the engine")
	index  = flag.String("index", "", "what to read")
	shards = flag.Int("shards", 2, "how many primary shards it has")
	slices = flag.Int("slices", 2, "how many readers at once")
	size   = flag.Int("size", 5000, "hits a page")
	out    = flag.String("out", "", "a file of lines; without it, bytes are thrown away")
)

var marker = []byte(`"_index":`)

// Go asks for compressed answers by itself; on one machine that costs the engine far more than it saves.
var client = http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}

// lines takes whole lines from all readers.
type lines struct {
	mutex sync.Mutex
	to    *bufio.Writer
}

func main() {
	flag.Parse()
	count, octets, err := read()
	if err != nil {
		fmt.Fprintln(os.Stderr, "native:", err)
		os.Exit(1)
	}
	fmt.Printf("{\"documents\": %d, \"bytes\": %d}\n", count, octets)
}

func read() (count, octets int64, err error) {
	var to *lines
	if *out != "" {
		file, err := os.Create(*out)
		if err != nil {
			return 0, 0, err
		}
		defer file.Close()
		to = &lines{to: bufio.NewWriterSize(file, 1<<20)}
	}
	faults := make(chan error, *slices)
	for number := 0; number < *slices; number++ {
		var mine []string
		for shard := number; shard < *shards; shard += *slices {
			mine = append(mine, strconv.Itoa(shard))
		}
		go func() { faults <- scroll("_shards:"+strings.Join(mine, ","), to, &count, &octets) }()
	}
	for number := 0; number < *slices; number++ {
		err = errors.Join(err, <-faults)
	}
	if to != nil {
		err = errors.Join(err, to.to.Flush())
	}
	return count, octets, err
}

// scroll reads the shards that preference names, to the end.
func scroll(preference string, to *lines, count, octets *int64) error {
	page, err := send("POST", fmt.Sprintf("/%s/_search?scroll=5m&preference=%s", *index, preference),
		fmt.Sprintf(`{"size":%d,"sort":["_doc"]}`, *size), nil)
	for {
		if err != nil {
			return err
		}
		atomic.AddInt64(octets, int64(len(page)))
		id, found := text(page, `"_scroll_id":"`)
		if !found {
			return errors.New("an answer without a scroll")
		}
		if !bytes.Contains(page, []byte(`"failed":0`)) {
			return errors.New("a shard failed")
		}
		hits := bytes.Count(page, marker)
		if hits == 0 {
			_, err = send("DELETE", "/_search/scroll", fmt.Sprintf(`{"scroll_id":["%s"]}`, id), nil)
			return err
		}
		if to != nil {
			if hits, err = to.write(page); err != nil {
				return err
			}
		}
		atomic.AddInt64(count, int64(hits))
		page, err = send("POST", "/_search/scroll", fmt.Sprintf(`{"scroll":"5m","scroll_id":"%s"}`, id), page)
	}
}

func send(method, path, body string, into []byte) ([]byte, error) {
	request, err := http.NewRequest(method, *url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	page := bytes.NewBuffer(into[:0])
	if _, err = page.ReadFrom(answer.Body); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s %.300s", path, answer.Status, page.Bytes())
	}
	return page.Bytes(), nil
}

func text(page []byte, before string) (string, bool) {
	_, rest, found := bytes.Cut(page, []byte(before))
	if !found {
		return "", false
	}
	end := bytes.IndexByte(rest, '"')
	return string(rest[:max(end, 0)]), end > 0
}

// write puts each hit of a page on a line of its own; returns how many there were.
func (l *lines) write(page []byte) (int, error) {
	_, rest, found := bytes.Cut(page, []byte(`"hits":[`))
	if !found {
		return 0, errors.New("an answer without hits")
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	count := 0
	for len(rest) > 0 && rest[0] == '{' {
		end := object(rest)
		if end == 0 {
			return count, io.ErrUnexpectedEOF
		}
		if _, err := l.to.Write(rest[:end]); err != nil {
			return count, err
		}
		if err := l.to.WriteByte('\n'); err != nil {
			return count, err
		}
		count++
		rest = bytes.TrimPrefix(rest[end:], []byte(","))
	}
	return count, nil
}

// object returns the length of the JSON object that data begins with; 0 where it does not end.
func object(data []byte) int {
	depth := 0
	for at := 0; at < len(data); at++ {
		switch data[at] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return at + 1
			}
		case '"':
			for at++; at < len(data) && data[at] != '"'; at++ {
				if data[at] == '\\' {
					at++
				}
			}
		}
	}
	return 0
}
