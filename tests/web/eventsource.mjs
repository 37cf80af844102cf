// A reader as one writes it with npm's `eventsource`: it prints each position, and says when it is connected again.
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
source.onopen = () => console.log("open");
source.onmessage = (message) => console.log(`${message.lastEventId} ${JSON.parse(message.data).data.id}`);
source.onerror = (error) => console.log(`error ${error.code ?? ""}`);
